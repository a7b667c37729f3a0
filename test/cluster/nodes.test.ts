/** What becomes of pods when nodes fail, room is short, or somebody evicts them. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { BatchV1Api, CoreV1Api, type V1Pod } from '@kubernetes/client-node';
import { clusterSuite, waitFor, type Node } from '../support/cluster/index.js';
import { hasEnded, holds, isReady, podGone, podLog, podOnce, runPod, shell } from '../support/cluster/pods.js';

const { skip, cluster } = clusterSuite({
  nodes: [{ extendedResources: { 'nvidia.com/gpu': 4 } }, { extendedResources: { 'nvidia.com/gpu': 4 } }],
});

const forever = 'trap "exit 143" TERM; while :; do sleep 0.1; done';

function nodeOf({ spec }: V1Pod): Node {
  const node = cluster().nodes.find(({ name }) => name === spec?.nodeName);
  assert(node !== undefined, `no node ${spec?.nodeName ?? ''}`);
  return node;
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false; // No such process.
  }
}

async function nodeIsReady(node: Node, expected: 'True' | 'Unknown'): Promise<void> {
  await waitFor(
    `${node.name} with Ready=${expected}`,
    async () => {
      const { spec, status } = await cluster().api(CoreV1Api).readNode({ name: node.name });
      const isTainted = (spec?.taints ?? []).length > 0;
      const { status: ready } = status?.conditions?.find(({ type }) => type === 'Ready') ?? {};
      return ready === expected && isTainted === (expected === 'Unknown') ? true : undefined;
    },
    { context: () => cluster().logTails() },
  );
}

test('a node without heartbeats loses its pods, which end when it is back', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const pod = await runPod(cluster(), namespace.name, 'cut-off', { containers: [shell(forever)] });
  const node = nodeOf(await podOnce(cluster(), 'readiness', pod, isReady));
  const [first] = await node.processes(pod);
  assert(first !== undefined);
  await node.freeze();
  await nodeIsReady(node, 'Unknown');
  const evicted = await podOnce(cluster(), 'eviction', pod, ({ metadata }) => metadata?.deletionTimestamp !== undefined);
  assert(holds(evicted, 'DisruptionTarget'));
  assert.equal(evicted.status?.conditions?.find(({ type }) => type === 'DisruptionTarget')?.reason, 'DeletionByTaintManager');
  // Nobody tells that the containers have ended, and they haven't.
  assert.equal(evicted.status.phase, 'Running');
  assert(isAlive(first.pid));
  await node.thaw();
  await podGone(cluster(), pod);
  assert(!isAlive(first.pid));
  await nodeIsReady(node, 'True');
});

test('a power failure ends the processes of a node; the pods fail when it boots', { skip }, async () => {
  await using namespace = await cluster().namespace();
  // However long the node takes to boot, nobody evicts the pod meanwhile.
  const tolerations = [{ operator: 'Exists', effect: 'NoExecute' }];
  const pod = await runPod(cluster(), namespace.name, 'powerless', { containers: [shell(forever)], tolerations });
  const node = nodeOf(await podOnce(cluster(), 'readiness', pod, isReady));
  const processes = await node.processes(pod);
  await node.agent.kill();
  await waitFor('end of the processes', () => (processes.some(({ pid }) => isAlive(pid)) ? undefined : true));
  await node.agent.start();
  const { status } = await podOnce(cluster(), 'end', pod, hasEnded);
  const terminated = status?.containerStatuses?.[0]?.state?.terminated;
  assert.deepEqual([status?.phase, terminated?.exitCode, terminated?.reason], ['Failed', 137, 'ContainerStatusUnknown']);
});

test('evictions by the API and by a node under pressure', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const byApi = await runPod(cluster(), namespace.name, 'by-api', { containers: [shell(forever)] });
  const byNode = await runPod(cluster(), namespace.name, 'by-node', { containers: [shell(forever)] });
  await podOnce(cluster(), 'readiness', byApi, isReady);
  // A finalizer keeps what the pod was when it ended, as the Job controller does.
  const core = cluster().api(CoreV1Api);
  await core.patchNamespacedPod({ ...byApi, body: [{ op: 'add', path: '/metadata/finalizers', value: ['example.com/kept'] }] });
  await core.createNamespacedPodEviction({ ...byApi, body: { metadata: { name: byApi.name } } });
  const evicted = await podOnce(cluster(), 'end', byApi, hasEnded);
  assert.equal(evicted.status?.conditions?.find(({ type }) => type === 'DisruptionTarget')?.reason, 'EvictionByEvictionAPI');
  assert.deepEqual([evicted.status.phase, evicted.status.containerStatuses?.[0]?.state?.terminated?.exitCode], ['Failed', 143]);
  await core.patchNamespacedPod({ ...byApi, body: [{ op: 'remove', path: '/metadata/finalizers' }] });
  await podGone(cluster(), byApi);

  const node = nodeOf(await podOnce(cluster(), 'readiness', byNode, isReady));
  await node.evict(byNode);
  const pressed = await podOnce(cluster(), 'end', byNode, hasEnded);
  assert.deepEqual([pressed.status?.phase, pressed.status?.reason], ['Failed', 'Evicted']);
  assert.equal(pressed.status?.conditions?.find(({ type }) => type === 'DisruptionTarget')?.reason, 'TerminationByKubelet');
});

test('the Job controller learns of a process that was killed', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const batch = cluster().api(BatchV1Api);
  const core = cluster().api(CoreV1Api);
  await batch.createNamespacedJob({
    namespace: namespace.name,
    body: {
      metadata: { name: 'killed' },
      spec: { backoffLimit: 0, template: { spec: { restartPolicy: 'Never', containers: [shell(forever)] } } },
    },
  });
  const pod = await waitFor('ready pod', async () => {
    const { items } = await core.listNamespacedPod({ namespace: namespace.name });
    return items.find(isReady);
  });
  const [first] = await nodeOf(pod).processes({ namespace: namespace.name, name: pod.metadata?.name ?? '' });
  assert(first !== undefined);
  process.kill(first.pid, 'SIGKILL');
  await waitFor('failed Job', async () => {
    const { status } = await batch.readNamespacedJob({ name: 'killed', namespace: namespace.name });
    assert.equal(status?.conditions?.find(({ type }) => type === 'Failed')?.reason, 'BackoffLimitExceeded');
    return true;
  });
});

test('devices are counted, numbered and given back; what does not fit waits', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const gpus = (count: number, script: string): Parameters<typeof runPod>[3] => ({
    containers: [shell(script, { resources: { limits: { 'nvidia.com/gpu': String(count) } } })],
  });
  const print = 'echo $NVIDIA_VISIBLE_DEVICES | tr "," "\\n" | wc -l';
  const large = [];
  for (const name of ['large-0', 'large-1']) large.push(await runPod(cluster(), namespace.name, name, gpus(4, `${print}; ${forever}`)));
  for (const pod of large) {
    await podOnce(cluster(), 'readiness', pod, isReady);
    await waitFor('devices', async () => ((await podLog(cluster(), pod)) === '4\n' ? true : undefined));
  }
  const small = await runPod(cluster(), namespace.name, 'small', gpus(1, 'echo $NVIDIA_VISIBLE_DEVICES'));
  const isUnschedulable = ({ status }: V1Pod): boolean => status?.conditions?.some(({ reason }) => reason === 'Unschedulable') ?? false;
  const waiting = await podOnce(cluster(), 'Unschedulable', small, isUnschedulable);
  assert.match(waiting.status?.conditions?.[0]?.message ?? '', /Insufficient nvidia.com\/gpu/u);
  const [first] = large;
  assert(first !== undefined);
  await cluster()
    .api(CoreV1Api)
    .deleteNamespacedPod({ ...first });
  await podOnce(cluster(), 'end', small, hasEnded);
  assert.equal(await podLog(cluster(), small), '0\n');
});

test('a quota refuses pods, and the Job says so', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const core = cluster().api(CoreV1Api);
  await core.createNamespacedResourceQuota({
    namespace: namespace.name,
    body: { metadata: { name: 'small' }, spec: { hard: { pods: '1' } } },
  });
  await waitFor('quota in force', async () => {
    const { status } = await core.readNamespacedResourceQuota({ name: 'small', namespace: namespace.name });
    return status?.used?.['pods'] === '0' ? true : undefined;
  });
  await cluster()
    .api(BatchV1Api)
    .createNamespacedJob({
      namespace: namespace.name,
      body: {
        metadata: { name: 'two' },
        spec: {
          completions: 2,
          parallelism: 2,
          completionMode: 'Indexed',
          template: { spec: { restartPolicy: 'Never', containers: [shell(forever)] } },
        },
      },
    });
  await waitFor('event of the quota', async () => {
    const { items } = await core.listNamespacedEvent({ namespace: namespace.name, fieldSelector: 'reason=FailedCreate' });
    return items.some(({ message }) => message?.includes('exceeded quota: small')) ? true : undefined;
  });
  const count = async (): Promise<number> => (await core.listNamespacedPod({ namespace: namespace.name })).items.length;
  await waitFor('the pod that has room', async () => ((await count()) > 0 ? true : undefined));
  await delay(200);
  assert.equal(await count(), 1);
});
