import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { stringify } from 'yaml';
import { formatJobProblem, validateSdxlJob, type JobProblem, type SdxlJob } from '../../../crds/index.js';
import { invalidChanges, invalidJobs, jobWith } from './invalid-jobs.js';

function accepted(source: unknown): SdxlJob {
  const result = validateSdxlJob(source);
  assert.ok(result.ok, result.ok ? '' : result.errors.map(formatJobProblem).join('\n'));
  return result.job;
}

function refused(source: unknown, options: Parameters<typeof validateSdxlJob>[1] = {}): readonly JobProblem[] {
  const result = validateSdxlJob(source, options);
  assert.ok(!result.ok, 'the job was accepted');
  return result.errors;
}

test('the table of invalid jobs has its size', () => {
  assert.ok(invalidJobs.length >= 60);
  assert.equal(new Set(invalidJobs.map(({ name }) => name)).size, invalidJobs.length, 'names are unique');
});

for (const { name, job, path, message } of invalidJobs) {
  test(`refused: ${name}`, () => {
    const problems = refused(job);
    const problem = problems.find((each) => each.path === path);
    assert.ok(problem, `no problem names ${path}: ${problems.map(formatJobProblem).join('; ')}`);
    assert.ok(problem.message.includes(message), `${problem.message}\ndoes not contain\n${message}`);
    assert.equal(problems.length, 1, problems.map(formatJobProblem).join('\n'));
  });
}

test('the same jobs are refused as text, with a line', () => {
  for (const { name, job, path } of invalidJobs) {
    const text = stringify(job, { version: '1.1' });
    if (Buffer.byteLength(text) > 256 * 1024) continue;
    const problem = refused(text).find((each) => each.path === path);
    assert.ok(problem, name);
    assert.equal(typeof problem.line, 'number', name);
  }
});

test('a minimal job gets every default', () => {
  const { spec, status } = accepted(jobWith({}));
  assert.deepEqual(spec, {
    model: { path: 'models/tiny-sdxl' },
    prompt: 'flowers, rabbit',
    promptSyntax: 'Plain',
    clipSkip: 0,
    height: 1024,
    width: 1024,
    numImages: 1,
    seed: 0,
    numInferenceSteps: 50,
    guidanceScale: '5.0',
    guidanceRescale: '0.0',
    scheduler: 'Auto',
    parallelism: { mesh: 'Explicit', dataDegree: 1, cfgDegree: 1, patchDegree: 1, mode: 'Synchronous', warmupSteps: 4 },
    backend: 'Auto',
    dtype: 'Auto',
    output: { path: 'output.png' },
    rendezvousTimeoutSeconds: 600,
    progressDeadlineSeconds: 600,
    suspend: false,
    failurePolicy: { maxRestarts: 3, maxDisruptions: 20, backoffSeconds: 5 },
    cleanPodPolicy: 'None',
    pods: { imagePullPolicy: 'IfNotPresent', sharedMemorySize: '1Gi', fsGroup: 10001 },
  });
  assert.deepEqual(status, { observedGeneration: -1, phase: 'Pending' });
});

test('a prompt may be empty, as in diffusers, alone or among others', () => {
  assert.equal(accepted(jobWith({ prompt: '' })).spec.prompt, '');
  assert.deepEqual(accepted(jobWith({ prompt: undefined, prompts: [{ prompt: 'a' }, { prompt: '' }] })).spec.prompts, [
    { prompt: 'a' },
    { prompt: '' },
  ]);
});

test('null counts as absent, as with an API server', () => {
  assert.deepEqual(
    accepted(jobWith({ height: null, negativePrompt: null, parallelism: null, output: { path: null } })),
    accepted(jobWith({})),
  );
});

test('the input stays untouched and the result is frozen', () => {
  const source = jobWith({ parallelism: {} });
  const before = structuredClone(source);
  const job = accepted(source);
  assert.deepEqual(source, before);
  assert.throws(() => {
    (job.spec.parallelism as { patchDegree: number }).patchDegree = 2;
  }, TypeError);
});

test('every field is reported at once', () => {
  const paths = refused(jobWith({ height: 1, width: 2, prompt: 3, foo: 4, model: { claim: {} } }, { name: 'A' })).map(({ path }) => path);
  assert.deepEqual(paths, ['metadata.name', 'spec.foo', 'spec.height', 'spec.model.claim.name', 'spec.prompt', 'spec.width']);
});

test('a problem carries the value found and its place in the text', () => {
  const text =
    'apiVersion: sdxl.io/v1alpha1\nkind: SdxlJob\nmetadata:\n  name: a\nspec:\n  model: { path: m }\n  prompt: p\n  height: 100\n';
  const [problem] = refused(text);
  assert.deepEqual(problem, {
    path: 'spec.height',
    value: 100,
    message: '100 is not a multiple of 8, the nearest are 96 and 104',
    line: 8,
    column: 3,
  });
  assert.equal(formatJobProblem(problem), 'line 8: spec.height: 100 is not a multiple of 8, the nearest are 96 and 104');
});

test('long values are cut in messages', () => {
  const [problem] = refused(jobWith({ backend: 'x'.repeat(10_000) }));
  assert.ok(problem);
  assert.ok(problem.message.length < 200, problem.message);
});

test('guidance just above 1 allows what needs guidance', () => {
  accepted(jobWith({ guidanceScale: '1.0001', negativePrompt: 'blurry', parallelism: { cfgDegree: 2 } }));
});

test('every backend takes displaced patches', () => {
  for (const backend of ['Auto', 'Onnx', 'Cuda']) accepted(jobWith({ backend, parallelism: { patchDegree: 2, mode: 'CorrectedAsyncGn' } }));
});

test('the largest seed is allowed for one image', () => {
  assert.equal(accepted(jobWith({ seed: Number.MAX_SAFE_INTEGER })).spec.seed, Number.MAX_SAFE_INTEGER);
});

test('a job as a server returns it is accepted', () => {
  const condition = {
    type: 'Complete',
    status: 'True',
    observedGeneration: 1,
    lastTransitionTime: '2026-01-02T03:04:05Z',
    reason: 'ImagesWritten',
    message: '4 of 4 images',
  };
  accepted({
    ...jobWith(
      {},
      {
        uid: '0c7a7c1e-0f2d-4c86-9a52-1f2d6a0f7f11',
        resourceVersion: '12',
        generation: 1,
        creationTimestamp: '2026-01-02T03:00:00Z',
        labels: { 'app.kubernetes.io/name': 'sdxl' },
        managedFields: [{ manager: 'kubectl', operation: 'Apply', fieldsV1: { 'f:spec': {} } }],
      },
    ),
    status: { observedGeneration: 1, conditions: [condition] },
  });
});

for (const { name, from, to } of invalidChanges) {
  test(`refused change: ${name}`, () => {
    const [problem, ...others] = refused(to, { oldJob: accepted(from) });
    assert.equal(problem?.path, 'spec');
    assert.match(problem.message, /spec is immutable/u);
    assert.deepEqual(others, []);
  });
}

test('what may change, may', () => {
  const oldJob = accepted(jobWith({}));
  for (const to of [{ suspend: true }, { ttlSecondsAfterFinished: 60 }]) assert.ok(validateSdxlJob(jobWith(to), { oldJob }).ok);
  const scheduling = { queueName: 'gpus' };
  const [problem] = refused(jobWith({ scheduling }), { oldJob });
  assert.equal(problem?.path, 'spec.scheduling');
  const suspended = accepted(jobWith({ suspend: true }));
  assert.ok(validateSdxlJob(jobWith({ suspend: true, scheduling }), { oldJob: suspended }).ok);
});

test('a change of metadata, and a default written out, are allowed', () => {
  const oldJob = accepted(jobWith({}));
  const result = validateSdxlJob(jobWith({ height: 1024 }, { labels: { a: 'b' } }), { oldJob });
  assert.ok(result.ok);
});

test('the samples are valid', async () => {
  const job = accepted(await readFile('manifests/samples/sdxljob.yaml', 'utf8'));
  assert.equal(job.spec.parallelism.patchDegree, 2);
  assert.equal(job.spec.seed, 2);
});
