import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SdxlError, type ErrorCode } from '../../../runtime/errors/index.js';
import {
  createScheduler,
  drawNoise,
  historyLength,
  LinearStepRun,
  openScheduler,
  parseSchedulerConfig,
  stepOfCall,
  supportedSchedulers,
  type LinearStep,
} from '../../../runtime/schedulers/index.js';
import { Generator } from '../../../runtime/tensor/index.js';

const sdxl = {
  _class_name: 'EulerDiscreteScheduler',
  beta_end: 0.012,
  beta_schedule: 'scaled_linear',
  beta_start: 0.00085,
  num_train_timesteps: 1000,
  steps_offset: 1,
  timestep_spacing: 'leading',
};

test("SDXL's known values", () => {
  const scheduler = createScheduler('f', sdxl);
  assert.deepEqual([scheduler.className, scheduler.numTrainTimesteps], ['EulerDiscreteScheduler', 1000]);
  const rows: [steps: number, first: number, init: number][] = [
    [50, 981, 13.158469],
    [30, 958, 11.520334],
    [20, 951, 11.073581],
  ];
  for (const [steps, first, init] of rows) {
    const schedule = scheduler.setTimesteps(steps);
    assert.equal(schedule.timesteps[0], first);
    assert.equal(schedule.timesteps.at(-1), 1);
    assert.ok(Math.abs(schedule.initNoiseSigma - init) < 2e-6);
    assert.deepEqual([schedule.sigmas.length, schedule.sigmas.at(-1)], [steps + 1, 0]);
  }
  assert.ok(Math.abs((scheduler.setTimesteps(50).sigmas[0] ?? 0) - 13.120416) < 2e-6);
});

test("diffusers' defaults hold for absent and null fields", () => {
  const short = createScheduler('f', { _class_name: sdxl._class_name, use_karras_sigmas: null, trained_betas: null });
  const long = createScheduler('f', {
    _class_name: sdxl._class_name,
    beta_start: 0.0001,
    beta_end: 0.02,
    beta_schedule: 'linear',
    num_train_timesteps: 1000,
    timestep_spacing: 'linspace',
    steps_offset: 0,
    final_sigmas_type: 'zero',
  });
  assert.deepEqual(short.setTimesteps(7).sigmas, long.setTimesteps(7).sigmas);
});

test('every spacing gives as many falling timesteps as asked for, for every number of steps', () => {
  for (const spacing of ['leading', 'trailing', 'linspace']) {
    const scheduler = createScheduler('f', { ...sdxl, timestep_spacing: spacing });
    for (let steps = 1; steps <= 1000; steps++) {
      const { timesteps, sigmas } = scheduler.setTimesteps(steps);
      assert.equal(timesteps.length, steps);
      for (let at = 1; at < steps; at++) assert.ok((timesteps[at] ?? 0) < (timesteps[at - 1] ?? 0), `${spacing} ${String(steps)}`);
      assert.ok(sigmas.slice(0, -1).every((sigma) => sigma > 0));
    }
  }
});

test('a perfect prediction of the noise leads back to the image in one step', () => {
  const schedule = createScheduler('f', sdxl).setTimesteps(1);
  const image = Float32Array.of(0.5, -1, 2);
  const noise = Float32Array.of(1, -0.5, 0.25);
  const sigma = schedule.sigmas[0] ?? 0;
  const sample = image.map((value, at) => value + sigma * (noise[at] ?? 0));
  const result = new LinearStepRun(schedule).step(noise, 0, sample);
  image.forEach((value, at) => assert.ok(Math.abs((result[at] ?? NaN) - value) < 1e-6));
});

test('the sample is left alone unless it is the target', () => {
  const run = new LinearStepRun(createScheduler('f', sdxl).setTimesteps(2));
  const sample = Float32Array.of(1, 2);
  run.scaleModelInput(sample, 0);
  run.step(Float32Array.of(1, 1), 0, sample);
  assert.deepEqual(sample, Float32Array.of(1, 2));
  assert.equal(run.step(Float32Array.of(1, 1), 0, sample, sample), sample);
  assert.notDeepEqual(sample, Float32Array.of(1, 2));
});

test('wrong indices and lengths are refused', () => {
  const run = new LinearStepRun(createScheduler('f', sdxl).setTimesteps(2));
  const sample = new Float32Array(2);
  for (const index of [-1, 2, 0.5]) {
    assert.throws(() => run.scaleModelInput(sample, index), new RangeError(`step ${String(index)} of 2`));
    assert.throws(() => run.step(sample, index, sample), new RangeError(`step ${String(index)} of 2`));
  }
  assert.throws(() => run.step(new Float32Array(3), 0, sample), /modelOutput has 3 elements, the sample 2/);
  assert.throws(() => run.step(sample, 0, sample, new Float32Array(1)), /into has 1 elements/);
  assert.throws(() => run.scaleModelInput(sample, 0, new Float32Array(1)), /into has 1 elements/);
});

test('the limits of each range are inside', () => {
  for (const [field, value] of [
    ['steps_offset', 0],
    ['steps_offset', 1000],
    ['num_train_timesteps', 2],
    ['num_train_timesteps', 100_000],
  ] as const) {
    assert.doesNotThrow(() => createScheduler('f', { ...sdxl, [field]: value }), field);
  }
});

test('an impossible number of steps is refused', () => {
  const scheduler = createScheduler('f', sdxl);
  for (const steps of [0, -1, 1.5, 1001, NaN]) {
    assert.throws(() => scheduler.setTimesteps(steps), failure('JOB_INVALID', /numInferenceSteps .*expected an integer from 1 to 1000/));
  }
});

test('Karras and exponential noise levels at once are refused', () => {
  for (const _class_name of [
    'EulerDiscreteScheduler',
    'DPMSolverMultistepScheduler',
    'UniPCMultistepScheduler',
    'DEISMultistepScheduler',
    'DPMSolverSinglestepScheduler',
    'HeunDiscreteScheduler',
    'KDPM2DiscreteScheduler',
    'KDPM2AncestralDiscreteScheduler',
    'LMSDiscreteScheduler',
  ]) {
    const both = { ...sdxl, _class_name, use_karras_sigmas: true, use_exponential_sigmas: true };
    assert.throws(() => createScheduler('f', both), failure('MODEL_UNSUPPORTED', /use_exponential_sigmas is true; supported: false/));
  }
});

const refused: [string, unknown, RegExp][] = [
  ['prediction_type', 'flow_prediction', /prediction_type is "flow_prediction"; supported: "epsilon" or "v_prediction" or "sample"/],
  ['interpolation_type', 'log_linear', /supported: "linear"/],
  ['timestep_type', 'continuous', /supported: "discrete"/],
  ['beta_schedule', 'laplace', /supported: "linear" or "scaled_linear" or "squaredcos_cap_v2"/],
  ['timestep_spacing', 'middle', /supported: "leading" or "trailing" or "linspace"/],
  ['final_sigmas_type', 'one', /supported: "zero" or "sigma_min"/],
  ['trained_betas', [0.1], /trained_betas is \[0\.1\]; supported: null/],
  ['sigma_min', 0.1, /supported: null/],
  ['sigma_max', 10, /supported: null/],
  ['use_exponential_sigmas', 'yes', /supported: true or false/],
  ['use_beta_sigmas', true, /supported: false/],
  ['rescale_betas_zero_snr', 1, /rescale_betas_zero_snr is 1; supported: true or false/],
  ['use_karras_sigmas', 'yes', /supported: true or false/],
  ['num_train_timesteps', 1, /an integer from 2 to 100000/],
  ['num_train_timesteps', 10.5, /an integer/],
  ['steps_offset', -1, /an integer from 0 to 1000/],
  ['beta_start', 0, /a number between 0 and 1/],
  ['beta_end', 1, /a number between 0 and 1/],
  ['beta_end', '0.012', /beta_end is "0\.012"; supported: a number/],
  ['shift', 2, /shift is 2; supported: no such field/],
];
const refusedOthers: [className: string, field: string, value: unknown, message: RegExp][] = [
  ['EulerAncestralDiscreteScheduler', 'prediction_type', 'sample', /supported: "epsilon" or "v_prediction"$/],
  ['DDIMScheduler', 'clip_sample', undefined, /clip_sample is "absent, which means true"; supported: false/],
  ['DDIMScheduler', 'clip_sample', true, /clip_sample is true; supported: false/],
  ['DDIMScheduler', 'thresholding', true, /supported: false/],
  ['DDIMScheduler', 'set_alpha_to_one', 1, /supported: true or false/],
  ['DPMSolverMultistepScheduler', 'thresholding', true, /supported: false/],
  ['DPMSolverMultistepScheduler', 'algorithm_type', 'dpmsolver', /supported: "dpmsolver\+\+" or "sde-dpmsolver\+\+"/],
  ['DPMSolverMultistepScheduler', 'solver_type', 'rk4', /supported: "midpoint" or "heun"/],
  ['DPMSolverMultistepScheduler', 'solver_order', 4, /an integer from 1 to 3/],
  ['DPMSolverMultistepScheduler', 'lambda_min_clipped', -5.1, /lambda_min_clipped is -5\.1; supported: -Infinity/],
  ['DPMSolverMultistepScheduler', 'variance_type', 'learned', /supported: null/],
  ['DPMSolverMultistepScheduler', 'use_lu_lambdas', true, /supported: false/],
  ['DPMSolverMultistepScheduler', 'use_flow_sigmas', true, /supported: false/],
  ['UniPCMultistepScheduler', 'predict_x0', false, /predict_x0 is false; supported: true/],
  ['UniPCMultistepScheduler', 'solver_p', 'DPMSolverMultistepScheduler', /supported: null/],
  ['UniPCMultistepScheduler', 'lower_order_final', false, /lower_order_final is false; supported: true/],
  ['UniPCMultistepScheduler', 'disable_corrector', [0, -1], /supported: a list of step numbers/],
  ['UniPCMultistepScheduler', 'disable_corrector', 0, /supported: a list of step numbers/],
  ['UniPCMultistepScheduler', 'thresholding', true, /supported: false/],
  ['DDPMScheduler', 'clip_sample', undefined, /clip_sample is "absent, which means true"; supported: false/],
  ['DDPMScheduler', 'variance_type', 'learned_range', /supported: "fixed_small" or "fixed_small_log" or "fixed_large"/],
  ['DDPMScheduler', 'thresholding', true, /supported: false/],
  ['DEISMultistepScheduler', 'algorithm_type', 'sde', /supported: "deis" or/],
  ['DEISMultistepScheduler', 'solver_order', 4, /an integer from 1 to 3/],
  ['DPMSolverSinglestepScheduler', 'algorithm_type', 'dpmsolver', /supported: "dpmsolver\+\+" or "sde-dpmsolver\+\+"/],
  ['DPMSolverSinglestepScheduler', 'lambda_min_clipped', -5.1, /lambda_min_clipped is -5\.1; supported: -Infinity/],
  ['HeunDiscreteScheduler', 'clip_sample', true, /clip_sample is true; supported: false/],
  ['KDPM2DiscreteScheduler', 'prediction_type', 'sample', /supported: "epsilon" or "v_prediction"$/],
  ['KDPM2AncestralDiscreteScheduler', 'prediction_type', 'sample', /supported: "epsilon" or "v_prediction"$/],
  ['LMSDiscreteScheduler', 'use_beta_sigmas', true, /supported: false/],
  ['PNDMScheduler', 'skip_prk_steps', undefined, /skip_prk_steps is "absent, which means false"; supported: true/],
  ['PNDMScheduler', 'skip_prk_steps', false, /skip_prk_steps is false; supported: true/],
  ['TCDScheduler', 'eta', 1.5, /eta is 1\.5; supported: a number from 0 to 1/],
  ['TCDScheduler', 'original_inference_steps', 0, /an integer from 1 to 1000/],
  ['LCMScheduler', 'clip_sample', true, /clip_sample is true; supported: false/],
  ['LCMScheduler', 'timestep_scaling', 0, /supported: a positive number/],
  ['LCMScheduler', 'original_inference_steps', 1001, /an integer from 1 to 1000/],
];
const rows = [...refused.map((row) => [sdxl._class_name, ...row] as const), ...refusedOthers];
for (const [className, field, value, message] of rows) {
  test(`refused: ${className} ${field} ${JSON.stringify(value)}`, () => {
    const settled = { clip_sample: false, skip_prk_steps: true };
    const fields = { ...sdxl, ...settled, _class_name: className, [field]: value };
    assert.throws(
      () => createScheduler('dir/scheduler_config.json', fields),
      (error: unknown) => {
        failure('MODEL_UNSUPPORTED', message)(error);
        assert.ok(error instanceof SdxlError);
        assert.deepEqual([error.fields['file'], error.fields['field']], ['dir/scheduler_config.json', field]);
        return true;
      },
    );
  });
}

test('other classes are refused with the list of those supported', () => {
  for (const document of [{ _class_name: 'SASolverScheduler' }, { _class_name: 'toString' }, {}, null, 7]) {
    assert.throws(
      () => createScheduler('f', document),
      failure('MODEL_UNSUPPORTED', new RegExp(`_class_name is .*; supported: ${supportedSchedulers.join(', ')}`)),
    );
  }
  assert.throws(() => createScheduler('f', sdxl, { className: 'SASolverScheduler' }), failure('MODEL_UNSUPPORTED', /"SASolverScheduler"/));
  assert.deepEqual(supportedSchedulers, [
    'EulerDiscreteScheduler',
    'EulerAncestralDiscreteScheduler',
    'DDIMScheduler',
    'DPMSolverMultistepScheduler',
    'UniPCMultistepScheduler',
    'LCMScheduler',
    'DDPMScheduler',
    'DEISMultistepScheduler',
    'DPMSolverSinglestepScheduler',
    'HeunDiscreteScheduler',
    'KDPM2DiscreteScheduler',
    'KDPM2AncestralDiscreteScheduler',
    'LMSDiscreteScheduler',
    'PNDMScheduler',
    'TCDScheduler',
  ]);
});

test("another class takes the file's fields, without those its author left to the defaults of the class it was", () => {
  const file = { ...sdxl, timestep_spacing: 'trailing', use_karras_sigmas: true, interpolation_type: 'log_linear' };
  const ancestral = createScheduler('f', file, { className: 'EulerAncestralDiscreteScheduler' });
  assert.equal(ancestral.className, 'EulerAncestralDiscreteScheduler');
  assert.equal(ancestral.setTimesteps(4).timesteps[0], 999);
  // DPM-Solver's own default is linspace, over one timestep more.
  const fresh = createScheduler(
    'f',
    { ...file, _use_default_values: ['timestep_spacing', 'use_karras_sigmas'] },
    { className: 'DPMSolverMultistepScheduler' },
  );
  assert.deepEqual(fresh.setTimesteps(2).timesteps, Float32Array.of(999, 500));
});

test("a job's options stand for the file's fields, and each must be read", () => {
  const options = { timestepSpacing: 'trailing', useKarrasSigmas: true, algorithmType: 'sde-dpmsolver++' };
  const className = 'DPMSolverMultistepScheduler';
  const file = {
    ...sdxl,
    _class_name: className,
    timestep_spacing: 'trailing',
    use_karras_sigmas: true,
    algorithm_type: 'sde-dpmsolver++',
  };
  assert.deepEqual(createScheduler('f', sdxl, { className, options }).setTimesteps(8), createScheduler('f', file).setTimesteps(8));
  assert.throws(
    () => createScheduler('f', sdxl, { options: { solverOrder: 2 } }),
    failure('JOB_INVALID', /^schedulerOptions\.solverOrder is 2; EulerDiscreteScheduler supports: no such field$/),
  );
  assert.throws(
    () => createScheduler('f', sdxl, { className, options: { ...options, solverOrder: 3 } }),
    failure('JOB_INVALID', /^schedulerOptions\.solverOrder is 3; DPMSolverMultistepScheduler supports: an integer from 1 to 2$/),
  );
  // What a job says does not excuse what the file says.
  assert.throws(
    () => createScheduler('f', { ...sdxl, trained_betas: [0.1] }, { options: { timestepSpacing: 'trailing' } }),
    failure('MODEL_UNSUPPORTED', /^f: trained_betas/),
  );
});

test('an unclipped lambda_min_clipped as Python writes it', () => {
  const text = '{"a": "x: -Infinity,", "lambda_min_clipped": -Infinity, "b": 1}';
  assert.deepEqual(parseSchedulerConfig(text), { a: 'x: -Infinity,', lambda_min_clipped: '-Infinity', b: 1 });
  const document = { ...sdxl, _class_name: 'DPMSolverMultistepScheduler', lambda_min_clipped: '-Infinity' };
  assert.doesNotThrow(() => createScheduler('f', document));
});

const finite: [className: string, config: object, steps: number, message: RegExp][] = [
  // Pure noise: the image behind it can't be told from a prediction of the noise.
  [
    'DDIMScheduler',
    { clip_sample: false, rescale_betas_zero_snr: true, timestep_spacing: 'trailing' },
    4,
    /step 1 of DDIMScheduler has no finite coefficients/,
  ],
  ['LCMScheduler', { rescale_betas_zero_snr: true }, 4, /step 1 of LCMScheduler has no finite coefficients/],
  // 1000 // 1001 = 0: every timestep the same.
  ['DPMSolverMultistepScheduler', {}, 1000, /DPMSolverMultistepScheduler has no finite coefficients/],
  ['DDIMScheduler', { clip_sample: false }, 1000, /with steps_offset 1 the first timestep would be 1000, but .* ends at 999/],
  ['LCMScheduler', {}, 51, /expected an integer from 1 to 50/],
];
for (const [className, config, steps, message] of finite) {
  test(`refused: ${className} ${JSON.stringify(config)} in ${String(steps)} steps`, () => {
    const scheduler = createScheduler('f', { ...sdxl, ...config }, { className });
    assert.throws(() => scheduler.setTimesteps(steps), failure('JOB_INVALID', message));
  });
}

test('buffers with the weight 0 are not read, missing ones are told', () => {
  const step = createScheduler('f', sdxl).setTimesteps(1).steps[0] ?? assert.fail();
  const noisy: LinearStep = { ...step, next: { anchor: 0, converted: [0, 0, 0, 0], noise: 1 } };
  const schedule = { timesteps: Float32Array.of(1), sigmas: Float32Array.of(1, 0), initNoiseSigma: 1, steps: [noisy] };
  const nan = Float32Array.of(NaN);
  const expected = new Generator(5n).randn([1]).data;
  assert.deepEqual(new LinearStepRun(schedule, new Generator(5n)).step(nan, 0, nan), expected);
  assert.throws(() => new LinearStepRun(schedule).step(nan, 0, nan), /give it the generator/);
  assert.deepEqual(drawNoise(noisy, new Generator(5n), 1), expected);
  assert.equal(drawNoise(step, undefined, 1), undefined);
  const early = { ...schedule, steps: [{ ...step, next: { ...step.next, converted: [0, 1, 0, 0] as const } }] };
  assert.throws(() => new LinearStepRun(early).step(nan, 0, nan), /converted output 1 does not exist yet/);
});

test('how much history each sampler reads', () => {
  const read = (className: string, config: object = {}): number =>
    historyLength(createScheduler('f', { ...sdxl, clip_sample: false, ...config }, { className }).setTimesteps(10).steps);
  assert.equal(read('EulerDiscreteScheduler'), 0);
  assert.equal(read('DPMSolverMultistepScheduler'), 1);
  assert.equal(read('DPMSolverMultistepScheduler', { solver_order: 3 }), 2);
  assert.equal(read('UniPCMultistepScheduler'), 2);
  assert.equal(read('UniPCMultistepScheduler', { solver_order: 3 }), 3);
  assert.equal(read('HeunDiscreteScheduler'), 1);
  assert.equal(read('KDPM2DiscreteScheduler'), 0);
  assert.equal(read('LMSDiscreteScheduler'), 3);
});

test('a missing or damaged file is named', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'scheduler-'));
  try {
    await assert.rejects(openScheduler(folder), failure('MODEL_NOT_FOUND', /scheduler_config\.json can't be read .*ENOENT/));
    await writeFile(join(folder, 'scheduler_config.json'), '{');
    await assert.rejects(openScheduler(folder), failure('MODEL_NOT_FOUND', /scheduler_config\.json can't be read .*JSON/));
  } finally {
    await rm(folder, { recursive: true });
  }
});

function failure(code: ErrorCode, message: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof SdxlError, String(error));
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  };
}

test('calls of the UNet belong to the steps that were asked for, the last call to the last step', () => {
  const told = (calls: number, asked: number): number[] => Array.from({ length: calls }, (_, call) => stepOfCall(call + 1, calls, asked));
  assert.deepEqual(told(4, 4), [1, 2, 3, 4]);
  assert.deepEqual(told(7, 4), [1, 2, 2, 3, 3, 4, 4]);
  assert.deepEqual(told(5, 4), [1, 2, 3, 4, 4]);
  assert.deepEqual(told(1, 1), [1]);
});
