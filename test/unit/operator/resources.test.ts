import assert from 'node:assert/strict';
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { formatJobProblem, validateSdxlJob } from '../../../crds/index.js';
import { attemptChildren, rankToken, runtimeJob } from '../../../operator/resources/index.js';
import { localJob } from '../../../runtime/launch/index.js';
import { job, settings } from './observations.js';

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args: readonly string[];
  readonly env: readonly { readonly name: string; readonly value?: string; readonly valueFrom?: object }[];
  readonly resources: Readonly<Record<string, unknown>>;
  readonly volumeMounts: readonly { readonly name: string; readonly mountPath: string }[];
  readonly securityContext: object;
}

interface PodSpec extends Readonly<Record<string, unknown>> {
  readonly containers: readonly [Container];
  readonly initContainers: readonly Container[];
  readonly volumes: readonly Readonly<Record<string, unknown>>[];
}

interface RenderedJob {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly spec: Readonly<Record<string, unknown>> & {
    readonly template: {
      readonly metadata: { readonly labels: Readonly<Record<string, string>>; readonly annotations?: Readonly<Record<string, string>> };
      readonly spec: PodSpec;
    };
  };
}

const now = new Date('2026-01-02T03:04:05Z');

function rendered(spec: Readonly<Record<string, unknown>>, attempt = 1): ReadonlyMap<string, unknown> {
  return new Map(attemptChildren(job(spec), attempt, settings, now).map(({ resource, object }) => [resource.kind, object]));
}

function gangOf(spec: Readonly<Record<string, unknown>>): RenderedJob {
  return rendered(spec).get('Job') as RenderedJob;
}

function podOf(spec: Readonly<Record<string, unknown>>): PodSpec {
  return gangOf(spec).spec.template.spec;
}

test('the Job is a gang: one pod for each index, none replaced, all ended when one fails', () => {
  const { spec } = gangOf({ parallelism: { patchDegree: 4, ranksPerPod: 2 } });
  const { completions, parallelism, completionMode, backoffLimit, podReplacementPolicy } = spec;
  assert.deepEqual([completions, parallelism, completionMode, backoffLimit, podReplacementPolicy], [2, 2, 'Indexed', 0, 'Failed']);
});

test('children are named after the attempt, labelled, and owned', () => {
  for (const { object } of attemptChildren(job(), 7, settings, now)) {
    const { name, labels, ownerReferences } = object.metadata;
    assert.match(name, /^flowers-rabbit-(?:7|output)$/u);
    assert.equal(labels?.['sdxl.io/job-uid'], 'job-uid');
    assert.deepEqual(
      ownerReferences?.map(({ uid, controller }) => [uid, controller]),
      [['job-uid', true]],
    );
  }
});

test('a mesh to choose has as many ranks as it says, and stays to be chosen where backend and devices are known', () => {
  const parallelism = { mesh: 'Auto', ranks: 8, ranksPerPod: 4 };
  const { spec } = gangOf({ numImages: 4, parallelism });
  assert.equal(spec['completions'], 2);
  const environment = podOf({ numImages: 4, parallelism }).containers[0].env;
  assert.equal(environment.find(({ name }) => name === 'WORLD_SIZE')?.value, '8');
});

test('what the ranks are given is a job that one machine can run', () => {
  const everything = {
    model: { claim: { name: 'models', path: 'sdxl-base' } },
    parallelism: { patchDegree: 4, cfgDegree: 2, ranksPerPod: 4 },
    output: { path: '../../pictures/a.png', size: '2Gi' },
    activeDeadlineSeconds: 60,
    ttlSecondsAfterFinished: 60,
    cache: { claim: { name: 'cache' } },
    accelerator: { resourceName: 'nvidia.com/gpu' },
    network: { resourceName: 'rdma/hca' },
    scheduling: { queueName: 'gpus' },
    pods: { runAsUser: 1000 },
    managedBy: 'sdxl.io/sdxl-operator',
    failurePolicy: { maxRestarts: 1 },
  };
  const validation = validateSdxlJob(runtimeJob(job(everything)));
  assert.ok(validation.ok, validation.ok ? '' : validation.errors.map(formatJobProblem).join('\n'));
  const local = localJob(validation.job);
  assert.deepEqual([local.spec.model.path, local.spec.output.path], ['/model/sdxl-base', '/output/pictures/a.png']);
  assert.deepEqual(local.spec.parallelism, {
    mesh: 'Explicit',
    dataDegree: 1,
    cfgDegree: 2,
    patchDegree: 4,
    mode: 'Synchronous',
    warmupSteps: 4,
  });
});

test('models are found where they are mounted or fetched', () => {
  const pathOf = (model: object): string =>
    (runtimeJob(job({ model, cache: { claim: { name: 'cache' } } })) as { spec: { model: { path: string } } }).spec.model.path;
  assert.equal(pathOf({ path: 'models/tiny-sdxl' }), 'models/tiny-sdxl');
  assert.equal(pathOf({ claim: { name: 'models' } }), '/model');
  assert.equal(pathOf({ image: { reference: 'registry.example.com/sdxl:1', path: 'a/b' } }), '/model/a/b');
  assert.equal(pathOf({ huggingFace: { repo: 'a/b', revision: 'refs/pr/1' } }), '/cache/models/a--b/refs--pr--1');
  const buckets = [
    { bucket: 'models' },
    { bucket: 'models', prefix: 'a' },
    { bucket: 'models', prefix: '..' },
    { bucket: 'models', endpoint: 'https://s3.example.com' },
  ];
  const fetched = buckets.map((s3) => pathOf({ s3 }));
  for (const path of fetched) assert.match(path, /^\/cache\/models\/s3\/models-[0-9a-f]{16}$/u);
  assert.equal(new Set(fetched).size, buckets.length);
});

test('what goes with a model is found beside it', () => {
  const modelOf = (model: object): object => (runtimeJob(job({ model })) as { spec: { model: object } }).spec.model;
  const more = { loras: [{ path: '../loras/a.safetensors' }], configFrom: 'sdxl-base' };
  assert.deepEqual(modelOf({ claim: { name: 'models', path: 'a.safetensors' }, ...more }), {
    path: '/model/a.safetensors',
    loras: [{ path: '/model/loras/a.safetensors', weight: '1.0' }],
    configFrom: '/model/sdxl-base',
  });
  assert.deepEqual(modelOf({ path: 'a', variant: 'fp16', loras: [{ path: 'a.safetensors' }] }), {
    path: 'a',
    variant: 'fp16',
    loras: [{ path: 'a.safetensors', weight: '1.0' }],
  });
});

test('pods satisfy Pod Security "restricted"', () => {
  const pod = podOf({});
  assert.deepEqual(pod['securityContext'], {
    runAsNonRoot: true,
    fsGroup: 10001,
    fsGroupChangePolicy: 'OnRootMismatch',
    seccompProfile: { type: 'RuntimeDefault' },
  });
  assert.equal(pod['automountServiceAccountToken'], false);
  for (const { securityContext } of [...pod.initContainers, ...pod.containers]) {
    assert.deepEqual(securityContext, { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } });
  }
});

test('ranks know their place by their index', () => {
  const [{ env }] = podOf({ parallelism: { patchDegree: 4, ranksPerPod: 2 } }).containers;
  const value = (name: string): unknown => {
    const found = env.find((variable) => variable.name === name);
    return found?.value ?? found?.valueFrom;
  };
  assert.deepEqual(value('NODE_RANK'), { fieldRef: { fieldPath: "metadata.labels['batch.kubernetes.io/job-completion-index']" } });
  assert.deepEqual([value('LOCAL_WORLD_SIZE'), value('WORLD_SIZE')], ['2', '4']);
  assert.equal(value('MASTER_ADDR'), 'flowers-rabbit-1-0.flowers-rabbit-1.default.svc');
});

test('ranks of one pod meet on its loopback interface', () => {
  const [{ env }] = podOf({ parallelism: { patchDegree: 2 } }).containers;
  for (const name of ['MASTER_ADDR', 'SDXL_LISTEN_ADDR']) {
    assert.deepEqual(
      env.filter((variable) => variable.name === name),
      [{ name, value: '127.0.0.1' }],
    );
  }
});

test('devices are asked for once for each rank, and are required', () => {
  const pod = podOf({
    parallelism: { patchDegree: 8, ranksPerPod: 4 },
    accelerator: { resourceName: 'nvidia.com/gpu' },
    network: { resourceName: 'rdma/hca', count: 2 },
  });
  const [{ resources, image, env }] = pod.containers;
  assert.deepEqual(resources, {
    limits: { 'nvidia.com/gpu': '4', 'rdma/hca': '2' },
    requests: { 'nvidia.com/gpu': '4', 'rdma/hca': '2' },
  });
  assert.equal(image, 'cuda:1');
  assert.ok(env.some(({ name, value }) => name === 'SDXL_ACCELERATOR' && value === 'required'));
  assert.ok(!podOf({}).containers[0].env.some(({ name }) => name === 'SDXL_ACCELERATOR'));
});

test('devices can come by a claim template', () => {
  const pod = podOf({ accelerator: { resourceClaimTemplateName: 'gpus' } });
  assert.deepEqual(pod['resourceClaims'], [{ name: 'accelerator', resourceClaimTemplateName: 'gpus' }]);
  assert.deepEqual(pod.containers[0].resources, { claims: [{ name: 'accelerator' }] });
});

test('schedulers of gangs get their PodGroup, and pods know it', () => {
  const coscheduling = rendered({
    scheduling: { gang: 'Coscheduling', schedulerName: 'plugins' },
    parallelism: { patchDegree: 2, ranksPerPod: 1 },
  });
  assert.deepEqual((coscheduling.get('PodGroup') as { spec: unknown }).spec, { minMember: 2 });
  const { template } = (coscheduling.get('Job') as RenderedJob).spec;
  assert.equal(template.metadata.labels['scheduling.x-k8s.io/pod-group'], 'flowers-rabbit-1');
  assert.equal(template.spec['schedulerName'], 'plugins');
  const volcano = gangOf({ scheduling: { gang: 'Volcano' } }).spec.template;
  assert.deepEqual(
    [volcano.metadata.annotations?.['scheduling.k8s.io/group-name'], volcano.spec['schedulerName']],
    ['flowers-rabbit-1', 'volcano'],
  );
});

test('a queue of Kueue is named on a Job that Kueue starts', () => {
  const { metadata, spec } = gangOf({ scheduling: { queueName: 'gpus' } });
  assert.deepEqual([metadata.labels['kueue.x-k8s.io/queue-name'], spec['suspend']], ['gpus', true]);
});

test('a gang can be kept within one domain of the cluster', () => {
  const affinity = (policy: string): unknown =>
    podOf({ parallelism: { patchDegree: 2, ranksPerPod: 1 }, scheduling: { topology: { key: 'zone', policy } } })['affinity'];
  assert.match(JSON.stringify(affinity('Required')), /requiredDuringScheduling.*"topologyKey":"zone"/u);
  assert.match(JSON.stringify(affinity('Preferred')), /preferredDuringScheduling.*"topologyKey":"zone"/u);
});

test('a claim is made where none is named, for one node or many', () => {
  const claim = (spec: Readonly<Record<string, unknown>>): unknown =>
    (rendered(spec).get('PersistentVolumeClaim') as { spec?: unknown } | undefined)?.spec;
  assert.deepEqual(claim({}), { accessModes: ['ReadWriteOnce'], resources: { requests: { storage: '1Gi' } } });
  assert.deepEqual(claim({ parallelism: { patchDegree: 2, ranksPerPod: 1 }, output: { size: '5Gi', storageClassName: 'nfs' } }), {
    accessModes: ['ReadWriteMany'],
    resources: { requests: { storage: '5Gi' } },
    storageClassName: 'nfs',
  });
  assert.equal(claim({ output: { claim: { name: 'pictures' } } }), undefined);
});

test('a model from the Hugging Face Hub is fetched before engines are built, with a token from a Secret', () => {
  const huggingFace = { repo: 'a/b', revision: 'main', tokenSecret: { name: 'hub' } };
  const { initContainers } = podOf({ model: { huggingFace }, cache: { claim: { name: 'cache' } } });
  assert.deepEqual(
    initContainers.map(({ name }) => name),
    ['model', 'engines'],
  );
  const fetching = initContainers[0];
  assert.deepEqual(fetching?.env.find(({ name }) => name === 'HF_TOKEN')?.valueFrom, { secretKeyRef: { name: 'hub', key: 'token' } });
  assert.deepEqual(fetching.args.slice(0, 5), ['fetch', '--repo', 'a/b', '--revision', 'main']);
});

test('every container has the limits that a quota may want, and devices are for those that compute', () => {
  const resources = { limits: { memory: '8Gi' }, requests: { cpu: '2' } };
  const { initContainers, containers } = podOf({
    model: { huggingFace: { repo: 'a/b' } },
    cache: { claim: { name: 'cache' } },
    accelerator: { resourceName: 'nvidia.com/gpu' },
    pods: { resources },
  });
  const gpu = { 'nvidia.com/gpu': '1' };
  const computing = { limits: { ...resources.limits, ...gpu }, requests: { ...resources.requests, ...gpu } };
  assert.deepEqual(
    [...initContainers, ...containers].map((container) => container.resources),
    [resources, computing, computing],
  );
});

const keys = (container: Container | undefined): readonly unknown[] =>
  (container?.env ?? []).filter(({ name }) => name.startsWith('AWS_')).map(({ name, valueFrom }) => [name, valueFrom]);
const secretKeys = (name: string): readonly unknown[] => [
  ['AWS_ACCESS_KEY_ID', { secretKeyRef: { name, key: 'AWS_ACCESS_KEY_ID' } }],
  ['AWS_SECRET_ACCESS_KEY', { secretKeyRef: { name, key: 'AWS_SECRET_ACCESS_KEY' } }],
  ['AWS_SESSION_TOKEN', { secretKeyRef: { name, key: 'AWS_SESSION_TOKEN', optional: true } }],
];

test('a model from object storage is fetched before engines are built, with credentials from a Secret or none', () => {
  const cache = { claim: { name: 'cache' } };
  const s3 = { bucket: 'models', prefix: 'a/b', endpoint: 'https://s3.example.com', region: 'eu-1', credentialsSecret: { name: 'reader' } };
  const [fetching, engines] = podOf({ model: { s3 }, cache }).initContainers;
  assert.deepEqual(fetching?.args.slice(0, 7), [
    ...['fetch', '--s3', 's3://models/a/b', '--endpoint', 'https://s3.example.com'],
    ...['--region', 'eu-1'],
  ]);
  assert.deepEqual(keys(fetching), secretKeys('reader'));
  assert.deepEqual(keys(engines), []);
  const [ambient] = podOf({ model: { s3: { bucket: 'models' } }, cache }).initContainers;
  assert.deepEqual(ambient?.args.slice(0, 4), ['fetch', '--s3', 's3://models/', '--output']);
  assert.deepEqual(keys(ambient), []);
});

test('images for object storage need no claim, and only ranks may upload them', () => {
  const s3 = { bucket: 'pictures', prefix: 'flowers', region: 'eu-1', credentialsSecret: { name: 'writer' } };
  const spec = { output: { s3, path: '/../rabbit/a.png' } };
  assert.equal(rendered(spec).get('PersistentVolumeClaim'), undefined);
  const { volumes, initContainers, containers } = podOf(spec);
  assert.ok(!volumes.some(({ name }) => name === 'output'));
  assert.deepEqual(keys(containers[0]), secretKeys('writer'));
  for (const container of initContainers) assert.deepEqual(keys(container), []);
  const validation = validateSdxlJob(runtimeJob(job(spec)));
  assert.ok(validation.ok, validation.ok ? '' : validation.errors.map(formatJobProblem).join('\n'));
  const { output } = localJob(validation.job).spec;
  assert.deepEqual(output, { path: 'rabbit/a.png', s3: { bucket: 'pictures', prefix: 'flowers', region: 'eu-1' } });
});

test('tokens differ by key, job and attempt', () => {
  const tokens = [
    rankToken(Buffer.alloc(32, 1), 'a', 1),
    rankToken(Buffer.alloc(32, 2), 'a', 1),
    rankToken(Buffer.alloc(32, 1), 'b', 1),
    rankToken(Buffer.alloc(32, 1), 'a', 2),
  ];
  assert.equal(new Set(tokens).size, 4);
  for (const token of tokens) assert.match(token, /^[\w-]{43}$/u);
});

test('ranks of several pods are given certificates of one authority, the same however often they are made', () => {
  const spec = { parallelism: { patchDegree: 2, ranksPerPod: 1 }, activeDeadlineSeconds: 3600 };
  const secretOf = (attempt = 1): Record<string, string> =>
    (rendered(spec, attempt).get('Secret') as { data: Record<string, string> }).data;
  const read = (name: string, secret = secretOf()): string => Buffer.from(secret[name] ?? '', 'base64').toString();
  assert.deepEqual(Object.keys(secretOf()).sort(), ['ca.crt', 'tls.crt', 'tls.key', 'token']);
  assert.deepEqual(secretOf(), secretOf());
  const [ca, certificate] = [new X509Certificate(read('ca.crt')), new X509Certificate(read('tls.crt'))];
  assert.ok(ca.ca && ca.verify(ca.publicKey) && certificate.verify(ca.publicKey));
  assert.ok(certificate.checkPrivateKey(createPrivateKey(read('tls.key'))));
  assert.equal(certificate.checkHost('rank.sdxl.internal'), 'rank.sdxl.internal');
  assert.deepEqual(
    [certificate.validFrom, certificate.validTo].map((time) => new Date(time).toISOString()),
    ['2026-01-01T00:00:00.000Z', '2026-01-04T00:00:00.000Z'],
  );
  // Another attempt's ranks are strangers.
  assert.equal(new X509Certificate(read('tls.crt', secretOf(2))).verify(ca.publicKey), false);
  const { env } = podOf(spec).containers[0];
  assert.deepEqual(
    env.find(({ name }) => name === 'SDXL_TLS_DIR'),
    { name: 'SDXL_TLS_DIR', value: '/etc/sdxl' },
  );
});

test('ranks of one pod need no certificates', () => {
  const { data } = rendered({ parallelism: { patchDegree: 2 } }).get('Secret') as { data: Record<string, string> };
  assert.deepEqual(Object.keys(data), ['token']);
  assert.ok(!podOf({ parallelism: { patchDegree: 2 } }).containers[0].env.some(({ name }) => name === 'SDXL_TLS_DIR'));
});
