/** What the command line refuses an API server refuses, and the reverse: the same table runs against both. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { formatJobProblem, validateSdxlJob } from '../../crds/index.js';
import { ApiError, type ApiClient } from '../../operator/kube/index.js';
import { clusterSuite } from '../support/cluster/index.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { invalidChanges, invalidJobs, jobWith } from '../unit/crds/invalid-jobs.js';

const { skip, cluster } = clusterSuite({ parts: 'api-server' });
const path = '/apis/sdxl.io/v1alpha1/namespaces/default/sdxljobs';
let opened: Promise<ApiClient> | undefined;

/** A client of the server, which serves the CRD. */
function server(): Promise<ApiClient> {
  opened ??= open();
  return opened;
}

async function open(): Promise<ApiClient> {
  const client = await openClient(cluster());
  await installCrd(client);
  return client;
}

/** What the server says to an object; undefined: it takes it. */
async function refusal(verb: 'POST' | 'PUT', at: string, body: unknown): Promise<ApiError | undefined> {
  try {
    await (
      await server()
    ).call({
      verb,
      path: at,
      query: { dryRun: 'All', fieldValidation: 'Strict' },
      body,
      signal: AbortSignal.timeout(30_000),
    });
    return undefined;
  } catch (error) {
    assert.ok(error instanceof ApiError, String(error));
    return error;
  }
}

for (const { name, job, path: field, message, refusedBy } of invalidJobs) {
  test(`refused by the API server: ${name}`, { skip }, async () => {
    const error = await refusal('POST', path, job);
    assert.ok(error, 'the server takes it');
    assert.ok(error.status !== undefined && error.status >= 400 && error.status < 500, error.message);
    // A rule says the same in both places.
    if (refusedBy === 'rule') assert.ok(error.message.includes(message), `${error.message}\ndoes not contain\n${message}`);
    if (refusedBy === 'schema') assert.ok(error.message.includes(field.split(/[.[]/u).at(-1) ?? ''), error.message);
  });
}

for (const { name, from, to } of invalidChanges) {
  test(`refused change: ${name}`, { skip }, async () => {
    const created = await (
      await server()
    ).call<{ metadata: { name: string; resourceVersion: string } }>({
      verb: 'POST',
      path,
      body: { ...from, metadata: { generateName: 'change-' } },
      signal: AbortSignal.timeout(30_000),
    });
    const body = { ...to, metadata: created.metadata };
    const error = await refusal('PUT', `${path}/${created.metadata.name}`, body);
    assert.match(error?.message ?? 'the server takes it', /spec is immutable/u);
  });
}

test('what may change, may, and scheduling only while suspended', { skip }, async () => {
  const create = async (spec: Record<string, unknown>): Promise<{ metadata: { name: string } }> =>
    (await server()).call({
      verb: 'POST',
      path,
      body: { ...jobWith(spec), metadata: { generateName: 'may-' } },
      signal: AbortSignal.timeout(30_000),
    });
  const running = await create({});
  const at = `${path}/${running.metadata.name}`;
  for (const spec of [{ suspend: true }, { ttlSecondsAfterFinished: 60 }]) {
    assert.equal(await refusal('PUT', at, { ...jobWith(spec), metadata: running.metadata }), undefined);
  }
  const scheduling = { scheduling: { queueName: 'gpus' } };
  assert.match(
    (await refusal('PUT', at, { ...jobWith(scheduling), metadata: running.metadata }))?.message ?? '',
    /set suspend to true first/u,
  );
  const held = await create({ suspend: true });
  const changed = { ...jobWith({ suspend: true, ...scheduling }), metadata: held.metadata };
  assert.equal(await refusal('PUT', `${path}/${held.metadata.name}`, changed), undefined);
});

test('the server fills in the defaults that the command line fills in', { skip }, async () => {
  const given = jobWith({ parallelism: { patchDegree: 2 }, pods: { env: [{ name: 'A', value: 'b' }] } }, { namespace: 'default' });
  const stored = await (
    await server()
  ).call<{ spec: object; status: object }>({ verb: 'POST', path, body: given, signal: AbortSignal.timeout(30_000) });
  const validation = validateSdxlJob(given);
  assert.ok(validation.ok);
  assert.deepEqual(stored.spec, validation.job.spec);
  assert.deepEqual(stored.status, { observedGeneration: -1, phase: 'Pending' });
  const again = validateSdxlJob(stored);
  assert.ok(again.ok, again.ok ? '' : again.errors.map(formatJobProblem).join('\n'));
});
