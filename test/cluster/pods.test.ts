/** Pods run on the test cluster's nodes as a kubelet would run them. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BatchV1Api, CoreV1Api, type V1Pod } from '@kubernetes/client-node';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { hasEnded, isReady, podGone, podLog, podOnce, runPod, shell } from '../support/cluster/pods.js';

const { skip, cluster } = clusterSuite({ nodes: 2 });

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
  await runPod(cluster(), namespace.name, 'message', {
    restartPolicy: 'Never',
    containers: [shell('echo why >/dev/termination-log; exit 7')],
  });
  const log = shell('echo first; echo last >&2; exit 8', { terminationMessagePolicy: 'FallbackToLogsOnError' });
  await runPod(cluster(), namespace.name, 'log', { restartPolicy: 'Never', containers: [log] });
  for (const [name, exitCode, message] of [
    ['message', 7, 'why\n'],
    ['log', 8, 'first\nlast\n'],
  ] as const) {
    const { status } = await podOnce(cluster(), 'end', { namespace: namespace.name, name }, hasEnded);
    assert.equal(status?.phase, 'Failed');
    const terminated = status.containerStatuses?.[0]?.state?.terminated;
    assert.deepEqual([terminated?.exitCode, terminated?.message, terminated?.reason], [exitCode, message, 'Error']);
  }
  assert.equal(await podLog(cluster(), { namespace: namespace.name, name: 'log' }), 'first\nlast\n');
});

test('volumes, variables and arguments', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const core = cluster().api(CoreV1Api);
  const claimed = await mkdtemp(join(tmpdir(), 'sdxl-claim-'));
  try {
    await core.createNamespacedConfigMap({
      namespace: namespace.name,
      body: { metadata: { name: 'settings' }, data: { 'job.yaml': 'steps: 4\n' } },
    });
    await core.createNamespacedSecret({
      namespace: namespace.name,
      body: { metadata: { name: 'token' }, stringData: { token: 's3cret' } },
    });
    await core.createPersistentVolume({
      body: {
        metadata: { name: namespace.name },
        spec: {
          capacity: { storage: '1Gi' },
          accessModes: ['ReadWriteMany'],
          storageClassName: '',
          hostPath: { path: claimed },
          claimRef: { namespace: namespace.name, name: 'output' },
        },
      },
    });
    await core.createNamespacedPersistentVolumeClaim({
      namespace: namespace.name,
      body: {
        metadata: { name: 'output' },
        spec: { accessModes: ['ReadWriteMany'], storageClassName: '', resources: { requests: { storage: '1Gi' } } },
      },
    });
    const script = [
      'set -e',
      'cat /etc/sdxl/job/job.yaml',
      'stat -c "%a %g" /run/sdxl/token',
      'test "$TOKEN" = "$(cat /run/sdxl/token)"',
      'echo "$POD/$CPU/$STEPS/$0/$1"',
      'df --output=fstype,size -B1M /dev/shm | tail -1 | tr -s " "',
      'echo picture >/output/picture.png',
      'cat /run/pod/name /run/all/token /run/all/namespace',
      'test -s /var/run/secrets/kubernetes.io/serviceaccount/token',
      'pwd',
    ].join('\n');
    const container = shell('', {
      command: ['/bin/sh', '-c', script],
      args: ['$(POD)', '$$(POD)'],
      workingDir: '/output',
      resources: { limits: { cpu: '1500m' } },
      env: [
        { name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
        { name: 'CPU', valueFrom: { resourceFieldRef: { resource: 'limits.cpu' } } },
        { name: 'TOKEN', valueFrom: { secretKeyRef: { name: 'token', key: 'token' } } },
        { name: 'STEPS', valueFrom: { configMapKeyRef: { name: 'settings', key: 'none', optional: true } } },
      ],
      volumeMounts: [
        { name: 'job', mountPath: '/etc/sdxl/job', readOnly: true },
        { name: 'token', mountPath: '/run/sdxl' },
        { name: 'shm', mountPath: '/dev/shm' },
        { name: 'output', mountPath: '/output' },
        { name: 'pod', mountPath: '/run/pod' },
        { name: 'all', mountPath: '/run/all' },
      ],
    });
    const name = { path: 'name', fieldRef: { fieldPath: 'metadata.name' } };
    const pod = await runPod(cluster(), namespace.name, 'volumes', {
      securityContext: { fsGroup: 1234 },
      containers: [container],
      volumes: [
        { name: 'job', configMap: { name: 'settings' } },
        { name: 'token', secret: { secretName: 'token', defaultMode: 0o400 } },
        { name: 'shm', emptyDir: { medium: 'Memory', sizeLimit: '32Mi' } },
        { name: 'output', persistentVolumeClaim: { claimName: 'output' } },
        { name: 'pod', downwardAPI: { items: [name] } },
        {
          name: 'all',
          projected: {
            sources: [
              { secret: { name: 'token' } },
              { downwardAPI: { items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }] } },
            ],
          },
        },
      ],
    });
    const { status } = await podOnce(cluster(), 'end', pod, hasEnded);
    const log = await podLog(cluster(), pod);
    assert.equal(status?.phase, 'Succeeded', log);
    assert.deepEqual(log.split('\n'), [
      'steps: 4',
      '440 1234',
      'volumes/2//volumes/$(POD)',
      'tmpfs 32',
      `volumess3cret${namespace.name}/output`,
      '',
    ]);
    assert.equal(await readFile(join(claimed, 'picture.png'), 'utf8'), 'picture\n');
  } finally {
    await rm(claimed, { recursive: true });
  }
});

test('users other than root, a root that is read only, and what a container writes stays its own', { skip }, async () => {
  await using namespace = await cluster().namespace({ 'pod-security.kubernetes.io/enforce': 'restricted' });
  const securityContext = {
    runAsNonRoot: true,
    allowPrivilegeEscalation: false,
    readOnlyRootFilesystem: true,
    capabilities: { drop: ['ALL'] },
    seccompProfile: { type: 'RuntimeDefault' },
  };
  const script =
    'id -u; id -G; touch /tmp/x 2>/dev/null || echo read-only; touch /data/x && echo writable; grep NoNewPrivs /proc/self/status; echo $PPID';
  const spec = { volumes: [{ name: 'data', emptyDir: {} }], securityContext: { fsGroup: 2000 } };
  const mounts = { volumeMounts: [{ name: 'data', mountPath: '/data' }] };
  const refused = await runPod(cluster(), namespace.name, 'root', { ...spec, containers: [shell(script, { ...mounts, securityContext })] });
  const user = { ...securityContext, runAsUser: 1000, runAsGroup: 1001 };
  const pod = await runPod(cluster(), namespace.name, 'user', {
    ...spec,
    containers: [shell(script, { ...mounts, securityContext: user })],
  });
  await podOnce(cluster(), 'end', pod, hasEnded);
  assert.equal(await podLog(cluster(), pod), '1000\n1001 2000\nread-only\nwritable\nNoNewPrivs:\t1\n0\n');
  const { status } = await podOnce(
    cluster(),
    'refusal',
    refused,
    ({ status }) => status?.containerStatuses?.[0]?.state?.waiting?.reason === 'CreateContainerConfigError',
  );
  assert.match(status?.containerStatuses?.[0]?.state?.waiting?.message ?? '', /runAsNonRoot/u);

  await using open = await cluster().namespace();
  const writes = await runPod(cluster(), open.name, 'writes', { containers: [shell('echo x >/etc/of-a-test; cat /etc/of-a-test')] });
  await podOnce(cluster(), 'end', writes, hasEnded);
  assert.equal(await podLog(cluster(), writes), 'x\n');
  await assert.rejects(readFile('/etc/of-a-test'), { code: 'ENOENT' });
});

test('init containers, sidecars, restarts and programs that do not exist', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const volume = { volumes: [{ name: 'shared', emptyDir: {} }] };
  const mounts = { volumeMounts: [{ name: 'shared', mountPath: '/shared' }] };
  const order = await runPod(cluster(), namespace.name, 'order', {
    ...volume,
    initContainers: [
      shell('echo init >>/shared/order', { ...mounts, name: 'init' }),
      shell('echo sidecar >>/shared/order; trap "exit 0" TERM; while :; do sleep 0.1; done', {
        ...mounts,
        name: 'sidecar',
        restartPolicy: 'Always',
      }),
    ],
    containers: [shell('while [ $(wc -l </shared/order) -lt 2 ]; do sleep 0.1; done; cat /shared/order', mounts)],
  });
  const failing = await runPod(cluster(), namespace.name, 'failing', {
    initContainers: [shell('exit 5', { name: 'init' })],
    containers: [shell('true')],
  });
  const restarted = await runPod(cluster(), namespace.name, 'restarted', {
    ...volume,
    restartPolicy: 'OnFailure',
    containers: [shell('test -e /shared/once || { touch /shared/once; exit 6; }', mounts)],
  });
  const unknown = await runPod(cluster(), namespace.name, 'unknown', {
    containers: [{ name: 'main', image: 'shell', command: ['no-such-program'] }],
  });

  const ordered = await podOnce(cluster(), 'end', order, hasEnded);
  assert.equal(ordered.status?.phase, 'Succeeded');
  assert.equal(await podLog(cluster(), order), 'init\nsidecar\n');
  const { status: failed } = await podOnce(cluster(), 'end', failing, hasEnded);
  assert.deepEqual([failed?.phase, failed?.initContainerStatuses?.[0]?.state?.terminated?.exitCode], ['Failed', 5]);
  const { status: again } = await podOnce(cluster(), 'end', restarted, hasEnded);
  const [container] = again?.containerStatuses ?? [];
  assert.deepEqual([again?.phase, container?.restartCount, container?.lastState?.terminated?.exitCode], ['Succeeded', 1, 6]);
  const { status: missing } = await podOnce(cluster(), 'end', unknown, hasEnded);
  const start = missing?.containerStatuses?.[0]?.state?.terminated;
  assert.deepEqual([start?.exitCode, start?.reason], [128, 'StartError']);
  assert.match(start?.message ?? '', /no-such-program.*not found/u);
});

test('probes: readiness, startup, and liveness that kills', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const quick = { periodSeconds: 1, failureThreshold: 2 };
  const server = 'require("node:http").createServer((_, response) => response.end()).listen(8000)';
  const probed = await runPod(cluster(), namespace.name, 'probed', {
    terminationGracePeriodSeconds: 1,
    containers: [
      shell(`sleep 1; exec "${process.execPath}" -e '${server}'`, {
        ports: [{ name: 'http', containerPort: 8000 }],
        startupProbe: { tcpSocket: { port: 8000 }, periodSeconds: 1, failureThreshold: 30 },
        readinessProbe: { httpGet: { port: 'http', path: '/' }, ...quick },
        livenessProbe: { exec: { command: ['sh', '-c', 'test ! -e /tmp/dead'] }, ...quick },
      }),
    ],
  });
  const ready = await podOnce(cluster(), 'readiness', probed, isReady);
  const address = ready.status?.podIP ?? '';
  assert.equal((await fetch(`http://${address}:8000/`)).status, 200, 'this machine reaches pods by their address');
  const node = cluster().nodes.find(({ name }) => name === ready.spec?.nodeName);
  const [first] = (await node?.processes(probed)) ?? [];
  assert.deepEqual(first?.args, [process.execPath, '-e', server]);
  await writeFile(`/proc/${String(first.pid)}/root/tmp/dead`, '');
  const { status } = await podOnce(cluster(), 'end', probed, hasEnded);
  assert.deepEqual([status?.phase, status?.containerStatuses?.[0]?.state?.terminated?.exitCode], ['Failed', 137]);
});

test('deletion: SIGTERM, then SIGKILL after the grace period', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const core = cluster().api(CoreV1Api);
  const polite = await runPod(cluster(), namespace.name, 'polite', {
    containers: [shell('trap "exit 0" TERM; echo up; while :; do sleep 0.1; done')],
  });
  const stubborn = await runPod(cluster(), namespace.name, 'stubborn', {
    terminationGracePeriodSeconds: 2,
    containers: [shell('trap "" TERM; echo up; while :; do sleep 0.1; done')],
  });
  for (const pod of [polite, stubborn]) {
    await podOnce(cluster(), 'readiness', pod, isReady);
    await waitFor('trap', async () => ((await podLog(cluster(), pod)) === 'up\n' ? true : undefined));
  }
  const startedMs = performance.now();
  await core.deleteNamespacedPod({ ...polite });
  await podGone(cluster(), polite);
  const politeMs = performance.now() - startedMs;
  await core.deleteNamespacedPod({ ...stubborn });
  await podGone(cluster(), stubborn);
  const stubbornMs = performance.now() - startedMs - politeMs;
  assert(politeMs < 20_000 && stubbornMs >= 2_000, `${String(politeMs)} and ${String(stubbornMs)} ms`);
});

test('images that are not there, until they are', { skip }, async () => {
  await using namespace = await cluster().namespace();
  const image = 'registry.example.com/team/runtime';
  const pod = await runPod(cluster(), namespace.name, 'image', { containers: [{ name: 'main', image: `${image}:1.2`, args: ['there'] }] });
  const isWaiting: (pod: V1Pod) => boolean = ({ status }) => status?.containerStatuses?.[0]?.state?.waiting?.reason === 'ImagePullBackOff';
  await podOnce(cluster(), 'ImagePullBackOff', pod, isWaiting);
  for (const node of cluster().nodes) await node.setImages({ [image]: { entrypoint: ['/bin/echo', 'it is'], workingDir: '/tmp' } });
  await podOnce(cluster(), 'end', pod, hasEnded);
  assert.equal(await podLog(cluster(), pod), 'it is there\n');
});
