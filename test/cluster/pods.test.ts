/** Pods run on the test cluster's nodes as a kubelet would run them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BatchV1Api, CoreV1Api, type V1Pod, type V1PodSpec } from '@kubernetes/client-node';
import { clusterSuite, shellImage, waitFor, type TestNamespace } from '../support/cluster/index.js';

const { skip, cluster } = clusterSuite({ nodes: 2 });

async function runPod(namespace: TestNamespace, name: string, spec: V1PodSpec): Promise<void> {
  await cluster()
    .api(CoreV1Api)
    .createNamespacedPod({ namespace: namespace.name, body: { metadata: { name }, spec } });
}

async function podOnce(what: string, namespace: TestNamespace, name: string, reached: (pod: V1Pod) => boolean): Promise<V1Pod> {
  const core = cluster().api(CoreV1Api);
  let last: V1Pod | undefined;
  return await waitFor(
    `${name}: ${what}`,
    async () => {
      last = await core.readNamespacedPod({ name, namespace: namespace.name });
      return reached(last) ? last : undefined;
    },
    { context: async () => `${JSON.stringify(last?.status, undefined, 2)}\n${await cluster().logTails()}` },
  );
}

const hasEnded = ({ status }: V1Pod): boolean => status?.phase === 'Succeeded' || status?.phase === 'Failed';

function shell(script: string, more: Partial<V1PodSpec['containers'][number]> = {}): V1PodSpec['containers'][number] {
  return { name: 'main', image: shellImage, command: ['/bin/sh', '-c', script], ...more };
}

async function logs(namespace: TestNamespace, name: string, container = 'main'): Promise<string> {
  return await cluster().api(CoreV1Api).readNamespacedPodLog({ name, namespace: namespace.name, container });
}

test('an Indexed Job of two pods that find each other by name', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const core = cluster().api(CoreV1Api);
  await core.createNamespacedService({
    namespace: namespace.name,
    body: { metadata: { name: 'gang' }, spec: { clusterIP: 'None', selector: { gang: 'one' }, publishNotReadyAddresses: true } },
  });
  const script = `
    test "$(hostname)" = "gang-$JOB_COMPLETION_INDEX" || exit 3
    peer=gang-$((1 - JOB_COMPLETION_INDEX)).gang
    for i in $(seq 100); do getent hosts $peer && getent hosts $peer.$NAMESPACE.svc.cluster.local && sleep 3 && exit 0; sleep 0.1; done
    exit 4`;
  const container = shell(script, { env: [{ name: 'NAMESPACE', valueFrom: { fieldRef: { fieldPath: 'metadata.namespace' } } }] });
  await cluster()
    .api(BatchV1Api)
    .createNamespacedJob({
      namespace: namespace.name,
      body: {
        metadata: { name: 'gang' },
        spec: {
          completions: 2,
          parallelism: 2,
          completionMode: 'Indexed',
          backoffLimit: 0,
          template: { metadata: { labels: { gang: 'one' } }, spec: { subdomain: 'gang', restartPolicy: 'Never', containers: [container] } },
        },
      },
    });
  await waitFor(
    'complete Job',
    async () => {
      const { status } = await cluster().api(BatchV1Api).readNamespacedJob({ name: 'gang', namespace: namespace.name });
      assert.equal(status?.conditions?.find(({ type }) => type === 'Complete')?.status, 'True', JSON.stringify(status));
      return true;
    },
    { context: () => cluster().logTails() },
  );
});

test('exit code, termination message and its fallback to the log', { skip }, async () => {
  await using namespace = await cluster().namespace();
  await runPod(namespace, 'message', { restartPolicy: 'Never', containers: [shell('echo why >/dev/termination-log; exit 7')] });
  const log = shell('echo first; echo last >&2; exit 8', { terminationMessagePolicy: 'FallbackToLogsOnError' });
  await runPod(namespace, 'log', { restartPolicy: 'Never', containers: [log] });
  for (const [name, exitCode, message] of [
    ['message', 7, 'why\n'],
    ['log', 8, 'first\nlast\n'],
  ] as const) {
    const { status } = await podOnce('end', namespace, name, hasEnded);
    assert.equal(status?.phase, 'Failed');
    const terminated = status.containerStatuses?.[0]?.state?.terminated;
    assert.deepEqual([terminated?.exitCode, terminated?.message, terminated?.reason], [exitCode, message, 'Error']);
  }
  assert.equal(await logs(namespace, 'log'), 'first\nlast\n');
});
