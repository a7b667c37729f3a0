import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { SdxlError, type ErrorCode } from '../../../runtime/errors/index.js';
import { createScheduler, openScheduler, supportedSchedulers } from '../../../runtime/schedulers/index.js';

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
  const result = schedule.begin().step(noise, 0, sample);
  image.forEach((value, at) => assert.ok(Math.abs((result[at] ?? NaN) - value) < 1e-6));
});

test('the sample is left alone unless it is the target', () => {
  const run = createScheduler('f', sdxl).setTimesteps(2).begin();
  const sample = Float32Array.of(1, 2);
  run.scaleModelInput(sample, 0);
  run.step(Float32Array.of(1, 1), 0, sample);
  assert.deepEqual(sample, Float32Array.of(1, 2));
  assert.equal(run.step(Float32Array.of(1, 1), 0, sample, sample), sample);
  assert.notDeepEqual(sample, Float32Array.of(1, 2));
});

test('wrong indices and lengths are refused', () => {
  const run = createScheduler('f', sdxl).setTimesteps(2).begin();
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

const refused: [string, unknown, RegExp][] = [
  ['prediction_type', 'v_prediction', /prediction_type is "v_prediction"; supported: "epsilon"/],
  ['prediction_type', 'sample', /supported: "epsilon"/],
  ['interpolation_type', 'log_linear', /supported: "linear"/],
  ['timestep_type', 'continuous', /supported: "discrete"/],
  ['beta_schedule', 'squaredcos_cap_v2', /supported: "linear" or "scaled_linear"/],
  ['timestep_spacing', 'middle', /supported: "leading" or "trailing" or "linspace"/],
  ['final_sigmas_type', 'one', /supported: "zero" or "sigma_min"/],
  ['trained_betas', [0.1], /trained_betas is \[0\.1\]; supported: null/],
  ['sigma_min', 0.1, /supported: null/],
  ['sigma_max', 10, /supported: null/],
  ['use_exponential_sigmas', true, /supported: false/],
  ['use_beta_sigmas', true, /supported: false/],
  ['rescale_betas_zero_snr', true, /rescale_betas_zero_snr is true; supported: false/],
  ['use_karras_sigmas', 'yes', /supported: true or false/],
  ['num_train_timesteps', 1, /an integer from 2 to 100000/],
  ['num_train_timesteps', 10.5, /an integer/],
  ['steps_offset', -1, /an integer from 0 to 1000/],
  ['beta_start', 0, /a number between 0 and 1/],
  ['beta_end', 1, /a number between 0 and 1/],
  ['beta_end', '0.012', /beta_end is "0\.012"; supported: a number/],
  ['solver_order', 2, /solver_order is 2; supported: no such field/],
];
for (const [field, value, message] of refused) {
  test(`refused: ${field} ${JSON.stringify(value)}`, () => {
    assert.throws(
      () => createScheduler('dir/scheduler_config.json', { ...sdxl, [field]: value }),
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
  for (const document of [{ _class_name: 'DDIMScheduler' }, { _class_name: 'toString' }, {}, null, 7]) {
    assert.throws(
      () => createScheduler('f', document),
      failure('MODEL_UNSUPPORTED', new RegExp(`_class_name is .*; supported: ${supportedSchedulers.join(', ')}`)),
    );
  }
  assert.deepEqual(supportedSchedulers, ['EulerDiscreteScheduler']);
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
