import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sdxlJobSchema } from '../../../crds/generated/schema.js';
import { validateSdxlJob } from '../../../crds/index.js';
import { schemaAt } from '../../../crds/structural-schema.js';
import { toJobRequest } from '../../../runtime/launch/job-request.js';
import type { ImageRequest } from '../../../runtime/pipeline/index.js';
import { supportedSchedulers } from '../../../runtime/schedulers/index.js';
import { jobWith } from '../crds/invalid-jobs.js';

function requestOf(spec: Record<string, unknown>): ImageRequest {
  const validation = validateSdxlJob(jobWith(spec));
  assert.ok(validation.ok, JSON.stringify(validation));
  return toJobRequest({ name: 'test', spec: validation.job.spec }).first;
}

test('without a word about it the sampler is the model’s, as its file has it', () => {
  assert.deepEqual(requestOf({}).scheduler, { className: undefined, options: {} });
  assert.equal(requestOf({}).guidanceRescale, 0);
  assert.equal(requestOf({ guidanceRescale: '0.7' }).guidanceRescale, 0.7);
});

test('an empty negative prompt is not the same as none', () => {
  assert.equal(requestOf({}).negativePrompt, undefined);
  assert.equal(requestOf({ negativePrompt: '' }).negativePrompt, '');
});

test('what the UNet and the second encoder are told is asked for as the job says it, and no more', () => {
  const plain = requestOf({});
  const fields = {
    prompt2: 'oil painting',
    negativePrompt: 'blurry',
    negativePrompt2: 'night',
    clipSkip: 1,
    originalSize: { height: 512, width: 768 },
    cropsCoordsTopLeft: { top: 8, left: 0 },
    targetSize: { height: 1024, width: 768 },
    negativeOriginalSize: { height: 64, width: 64 },
    negativeCropsCoordsTopLeft: { top: 0, left: 3 },
    negativeTargetSize: { height: 96, width: 64 },
  };
  assert.deepEqual(requestOf(fields), { ...plain, ...fields });
  assert.deepEqual(
    Object.keys(fields).filter((field) => field !== 'negativePrompt' && field in plain),
    [],
  );
});

test('every sampler of the contract has its class', () => {
  const names = schemaAt(sdxlJobSchema, ['spec', 'scheduler'])?.enum ?? [];
  const classes = names.filter((name) => name !== 'Auto').map((scheduler) => requestOf({ scheduler }).scheduler?.className);
  assert.deepEqual(classes, supportedSchedulers);
});

test('every option of the contract, with every value, has one that scheduler_config.json knows', () => {
  const fields = schemaAt(sdxlJobSchema, ['spec', 'schedulerOptions'])?.properties ?? {};
  const written: Record<string, unknown[]> = {};
  for (const [field, schema] of Object.entries(fields)) {
    const one = schema.type === 'boolean' ? field === 'skipPrkSteps' : schema.type === 'string' ? '0.5' : 1;
    const values = schema.enum ?? [one];
    written[field] = values.map((value) => requestOf({ schedulerOptions: { [field]: value } }).scheduler?.options?.[field]);
  }
  assert.deepEqual(written, {
    timestepSpacing: ['leading', 'trailing', 'linspace'],
    stepsOffset: [1],
    predictionType: ['epsilon', 'v_prediction', 'sample'],
    rescaleBetasZeroSnr: [false],
    useKarrasSigmas: [false],
    useExponentialSigmas: [false],
    finalSigmasType: ['zero', 'sigma_min'],
    algorithmType: ['dpmsolver++', 'sde-dpmsolver++'],
    solverType: ['midpoint', 'heun', 'bh1', 'bh2'],
    solverOrder: [1],
    lowerOrderFinal: [false],
    eulerAtFinal: [false],
    setAlphaToOne: [false],
    eta: [0.5],
    skipPrkSteps: [true],
    clipSample: [false],
    originalInferenceSteps: [1],
  });
});
