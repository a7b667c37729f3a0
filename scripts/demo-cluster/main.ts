/**
 * `npm run demo:cluster`: a Kubernetes cluster on this machine, the operator in it as its manifests install it, one job, and its picture as
 * ./output.png. API server, controllers and scheduler are the released ones; the node runs pods as local processes.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../../runtime/package-root.js';
import { programFile } from '../../test/support/cluster/binaries.js';
import { Cluster } from '../../test/support/cluster/index.js';
import { offerVolume, sdxlImages } from '../../test/support/sdxl-images.js';

const namespace = 'sdxl-demo';
const job = 'flowers-rabbit';
/** What the operator's Deployment and two ranks take on a busy machine. */
const patience = '--timeout=180s';

console.log('starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler and a node …');
await using cluster = await Cluster.start({ nodes: [{ images: sdxlImages }] });
const kubectlFile = await programFile('kubectl');

await kubectl('apply', '--server-side', '-f', packageFile('crds/sdxl.io_sdxljobs.yaml'));
await kubectl('wait', '--for=condition=Established', patience, 'crd/sdxljobs.sdxl.io');
const pictures = await offerVolume(cluster, namespace, `${job}-output`);
await kubectl('apply', '--server-side', '-k', packageFile('manifests/overlays/demo'));
const watching = start('get', 'sdxljobs', '-n', namespace, '-w');
try {
  await kubectl('wait', '-n', namespace, '--for=condition=Complete', patience, `sdxljob/${job}`);
} catch (error) {
  await kubectl('get', 'events,pods', '-n', namespace);
  await kubectl('describe', 'sdxljob', '-n', namespace, job);
  throw error;
} finally {
  watching.kill();
}
await kubectl('describe', 'sdxljob', '-n', namespace, job);
await copyFile(join(pictures, 'output.png'), 'output.png');
console.log(`\nThe picture is ./output.png.`);

function start(...args: readonly string[]): ReturnType<typeof spawn> {
  console.log(`\n$ kubectl ${args.map((arg) => arg.replace(packageFile('.'), '')).join(' ')}`);
  return spawn(kubectlFile, args, { stdio: 'inherit', env: { ...process.env, KUBECONFIG: join(cluster.directory, 'kubeconfig') } });
}

async function kubectl(...args: readonly string[]): Promise<void> {
  const [code] = (await once(start(...args), 'exit')) as [number | null];
  if (code !== 0) throw new Error(`kubectl ${args[0] ?? ''} ended with ${String(code)}`);
}
