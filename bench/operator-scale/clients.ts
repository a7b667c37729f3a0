/**
 * What a client of the API server costs: the operator's own against @kubernetes/client-node, each in a process of its own, in turns.
 * `npm run build && node dist/bench/operator-scale/clients.js`.
 */
import { execFileSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { inLanes } from './raw.js';

const { values } = parseArgs({ options: { client: { type: 'string' }, kubeconfig: { type: 'string', default: '' } } });
const calls = 3_000;
const lanes = 16;
const name = 'kube-root';

if (values.client === undefined) {
  const { Cluster } = await import('../../test/support/cluster/index.js');
  await using cluster = await Cluster.start({ parts: 'api-server' });
  const { CoreV1Api } = await import('@kubernetes/client-node');
  const data = { text: 'x'.repeat(2_000) };
  await cluster.api(CoreV1Api).createNamespacedConfigMap({ namespace: 'default', body: { metadata: { name }, data } });
  const kubeconfig = await cluster.writeKubeconfig('clients');
  for (let round = 0; round < 3; round++) {
    for (const client of ['own', 'library']) {
      execFileSync(process.execPath, [import.meta.filename, '--client', client, '--kubeconfig', kubeconfig], { stdio: 'inherit' });
    }
  }
} else {
  const before = { ms: performance.now(), resident: process.memoryUsage().rss };
  const call = values.client === 'own' ? await ownCall(values.kubeconfig) : await libraryCall(values.kubeconfig);
  const loaded = { ms: performance.now() - before.ms, resident: process.memoryUsage().rss - before.resident };
  await repeat(200, call);
  const [started, used] = [performance.now(), process.cpuUsage()];
  await repeat(calls, call);
  const { user, system } = process.cpuUsage(used);
  process.stdout.write(
    `${values.client.padEnd(8)} loads in ${loaded.ms.toFixed(0)} ms and ${mebibytes(loaded.resident)} MiB; a call takes ` +
      `${((performance.now() - started) / calls).toFixed(2)} ms with ${String(lanes)} at once, ${((user + system) / 1000 / calls).toFixed(2)} ms of processor; ` +
      `${mebibytes(process.memoryUsage().rss)} MiB after ${String(calls)}\n`,
  );
  process.exit();
}

async function ownCall(kubeconfig: string): Promise<() => Promise<unknown>> {
  const { ApiClient, connect, RateLimiter } = await import('../../operator/kube/index.js');
  const connection = await connect({ kubeconfig, serviceHost: undefined, servicePort: undefined });
  const client = new ApiClient({ connection, limiter: new RateLimiter(100_000, 100_000), fieldManager: 'bench', userAgent: 'bench' });
  const path = `/api/v1/namespaces/default/configmaps/${name}`;
  return () => client.call({ verb: 'GET', path, signal: AbortSignal.timeout(60_000) });
}

async function libraryCall(kubeconfig: string): Promise<() => Promise<unknown>> {
  const { CoreV1Api, KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  config.loadFromFile(kubeconfig);
  const api = config.makeApiClient(CoreV1Api);
  return () => api.readNamespacedConfigMap({ name, namespace: 'default' });
}

async function repeat(count: number, call: () => Promise<unknown>): Promise<void> {
  await inLanes(count, lanes, async () => {
    await call();
  });
}

function mebibytes(bytes: number): string {
  return (bytes / 1_048_576).toFixed(0);
}
