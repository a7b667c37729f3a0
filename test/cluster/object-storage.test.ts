/** Jobs whose model comes from object storage and whose pictures go there, on a real control plane and with a server that checks signatures. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { CoreV1Api } from '@kubernetes/client-node';
import { decode } from 'fast-png';
import { packageFile } from '../../runtime/package-root.js';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { objectStorageSkip, ObjectStorage } from '../support/object-storage.js';
import { OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { offerVolume, sdxlImages } from '../support/sdxl-images.js';
import { SdxlJobs, type Fields } from '../support/sdxl-jobs.js';

const { skip: noCluster, cluster } = clusterSuite({ nodes: [{ images: sdxlImages }] });
const skip = noCluster === false ? objectStorageSkip : noCluster;

test('a model is fetched once, pictures are uploaded, and none is lost or made twice when the server goes away', { skip }, async () => {
  const client = await openClient(cluster());
  await installCrd(client);
  const { hostAddress } = cluster();
  assert.ok(hostAddress !== undefined);
  await using storage = await ObjectStorage.open(['models', 'pictures'], hostAddress);
  await storage.putFolder('models', 'sdxl/tiny', packageFile('models/tiny-sdxl'));
  const core = cluster().api(CoreV1Api);
  await core.createNamespacedSecret({
    namespace: 'default',
    body: { metadata: { name: 'object-storage' }, stringData: { ...storage.environment } },
  });
  await offerVolume(cluster(), 'default', 'cache');
  const claim = { metadata: { name: 'cache' }, spec: { accessModes: ['ReadWriteMany'], resources: { requests: { storage: '1Gi' } } } };
  await core.createNamespacedPersistentVolumeClaim({ namespace: 'default', body: claim });
  await using operator = await OperatorProcess.start(cluster());
  const jobs = new SdxlJobs(cluster(), client, { context: () => operator.log });

  const place = { endpoint: storage.endpoint, credentialsSecret: { name: 'object-storage' } };
  const spec = (prefix: string, more: Fields): Fields => ({
    ...{ model: { s3: { bucket: 'models', prefix: 'sdxl/tiny', ...place } }, cache: { claim: { name: 'cache' } } },
    ...{ height: 128, width: 128, guidanceScale: '5.0', output: { path: 'x.png', s3: { bucket: 'pictures', prefix, ...place } } },
    ...more,
  });
  const pictures = async (prefix: string): Promise<readonly string[]> =>
    (await storage.keys('pictures')).filter((key) => key.startsWith(`${prefix}/`));
  const writes = (requests: readonly string[]): readonly string[] =>
    requests.flatMap((line) => /^PUT \/pictures\/([^?]+)\?/u.exec(line)?.[1] ?? []);

  await jobs.create('two', spec('two', { numInferenceSteps: 4, numImages: 2, parallelism: { patchDegree: 2, ranksPerPod: 1 } }));
  const status = await jobs.completed('two');
  assert.deepEqual([status.attempt, status.progress?.imagesDone, status.gang?.pods?.length], [1, 2, 2]);
  const first = await storage.requests();
  assert.deepEqual(writes(first), ['two/x-0.json', 'two/x-0.png', 'two/x-1.json', 'two/x-1.png']);
  // Two pods, one fetch; and no claim for pictures.
  assert.equal(first.filter((line) => line.startsWith('GET /models/sdxl/tiny/unet/diffusion_pytorch_model')).length, 1);
  assert.ok(!(await jobs.children('two')).some((child) => child.startsWith('persistentvolumeclaims/')));
  assert.equal(decode(await readFile(storage.file('pictures', 'two/x-1.png'))).width, 128);

  // The server goes away while a job uploads, for longer than the attempt waits.
  const many = { numInferenceSteps: 30, numImages: 4, progressDeadlineSeconds: 10, failurePolicy: { backoffSeconds: 1 } };
  await jobs.create('away', spec('away', many));
  await waitFor('the first picture', async () => (await pictures('away')).find((key) => key.endsWith('.png')), { timeoutMs: 120_000 });
  const before = await storage.requests();
  await storage.stop();
  const failed = await jobs.until('away', 'failure', ({ lastFailure }) => lastFailure !== undefined);
  assert.deepEqual([failed.lastFailure?.code, failed.lastFailure?.exitCode], ['ADDRESS_UNAVAILABLE', 75]);
  const where = `bucket pictures, key away/x-\\d\\.\\w+, endpoint ${storage.endpoint}: `;
  assert.match(failed.lastFailure?.message ?? '', new RegExp(`object storage did not take what it was sent in 5 s: ${where}`, 'u'));
  await storage.start();
  const done = await jobs.completed('away');
  assert.ok((done.restarts ?? 0) >= 1);
  const after = await storage.requests();
  assert.deepEqual(
    await pictures('away'),
    [0, 1, 2, 3].flatMap((index) => [`away/x-${String(index)}.json`, `away/x-${String(index)}.png`]),
  );
  const uploaded = writes([...before, ...after]).filter((key) => key.endsWith('.png'));
  assert.equal(new Set(uploaded).size, uploaded.length, uploaded.join());
  // The model was there already.
  assert.ok(![...before, ...after].some((line) => line.startsWith('GET /models/')));
});

test('a bucket that is not there fails the job for good and by name', { skip }, async () => {
  const client = await openClient(cluster());
  const { hostAddress } = cluster();
  assert.ok(hostAddress !== undefined);
  await using storage = await ObjectStorage.open(['models'], hostAddress);
  await using operator = await OperatorProcess.start(cluster());
  const jobs = new SdxlJobs(cluster(), client, { context: () => operator.log });
  const place = { endpoint: storage.endpoint, credentialsSecret: { name: 'object-storage' } };
  const small: Fields = { height: 64, width: 64, numInferenceSteps: 1 };
  const cache = { claim: { name: 'cache' } };
  await jobs.create('nowhere', { ...small, output: { s3: { bucket: 'nowhere', ...place } }, cache });
  await jobs.create('no-model', { ...small, model: { s3: { bucket: 'nowhere', ...place } }, cache });
  const output = await jobs.ended('nowhere');
  assert.deepEqual([output.phase, output.restarts, output.lastFailure?.code], ['Failed', 0, 'OUTPUT_UNWRITABLE']);
  assert.match(output.lastFailure?.message ?? '', /bucket nowhere, key output\.json, endpoint http.*NoSuchBucket/u);
  const model = await jobs.ended('no-model');
  assert.deepEqual([model.phase, model.restarts, model.lastFailure?.code], ['Failed', 0, 'MODEL_NOT_FOUND']);
});
