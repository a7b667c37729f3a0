/**
 * `npm run demo:cluster`: the sample SdxlJob on a real control plane of this machine. The API server takes it, the Job controller makes its pods, a
 * node runs them as processes, and the image is copied out of the claim.
 */
import { copyFile, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parse } from 'yaml';
import { packageFile } from '../../runtime/package-root.js';
import { Cluster, clusterSkipReason } from '../../test/support/cluster/index.js';
import { addVolume, createJob, OperatorProcess, rankImages, statusOf } from '../../test/support/operator.js';
import { installCrd, openClient } from '../../test/support/sdxl-crd.js';

interface Sample {
  readonly metadata: { readonly name: string };
  readonly spec: { readonly parallelism: object };
}

const picture = 'demo-cluster.png';
const patienceMs = 300_000;

const missing = clusterSkipReason();
if (missing === false) await demo();
else {
  console.error(missing);
  process.exitCode = 1;
}

async function demo(): Promise<void> {
  console.log('starting etcd, kube-apiserver, kube-controller-manager, kube-scheduler and a node …');
  await using cluster = await Cluster.start({ nodes: [{ images: rankImages }] });
  const client = await openClient(cluster);
  await installCrd(client);
  const volume = await addVolume(cluster, client, 'pictures');
  await using operator = await OperatorProcess.start(cluster, { show: true });
  const sample = parse(await readFile(packageFile('manifests/samples/sdxljob.yaml'), 'utf8')) as Sample;
  const { name } = sample.metadata;
  // One rank in each of two pods: the gang meets over the network.
  await createJob(client, 'default', { ...sample, spec: { ...sample.spec, parallelism: { ...sample.spec.parallelism, ranksPerPod: 1 } } });
  console.log('NAME             PHASE       PROGRESS  P95      RESTARTS');
  let shown = '';
  for (const started = Date.now(); Date.now() - started < patienceMs; await delay(250)) {
    const { phase = '', progress, restarts = 0, lastFailure } = await statusOf(client, 'default', name);
    const cells = [phase.padEnd(11), (progress?.done ?? '').padEnd(9), (progress?.latencyP95 ?? '').padEnd(8), String(restarts)];
    const line = `${name.padEnd(16)} ${cells.join(' ')}`;
    if (line !== shown) console.log(line);
    shown = line;
    if (phase === 'Complete') {
      await copyFile(join(volume, 'output.png'), picture);
      console.log(`the image: ${picture}`);
      return;
    }
    if (phase === 'Failed') throw new Error(`the job has failed: ${lastFailure?.message ?? ''}\n${operator.log}`);
  }
  throw new Error(`the job did not end within ${String(patienceMs / 1000)} s\n${operator.log}`);
}
