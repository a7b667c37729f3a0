/** Timesteps, noise levels and trajectories of diffusers' samplers; tolerances: test/fixtures/scheduler_goldens.py. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it, test } from 'node:test';
import { packageFile } from '../../runtime/package-root.js';
import { createScheduler, LinearStepRun } from '../../runtime/schedulers/index.js';
import { Generator } from '../../runtime/tensor/index.js';
import { readGolden } from '../support/fixtures.js';

interface Run {
  readonly steps: number;
  readonly timesteps: number[];
  readonly sigmas?: number[];
  readonly init_noise_sigma: number;
}
interface Golden {
  readonly class: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly runs: readonly Run[];
}

const file = packageFile('test/fixtures/random-sdxl/scheduler/scheduler_config.json');
const base = JSON.parse(await readFile(file, 'utf8')) as Record<string, unknown>;
const goldens = JSON.parse(await readFile(packageFile('test/fixtures/goldens/schedulers.json'), 'utf8')) as Record<string, Golden>;
const trajectories = await readGolden('goldens/schedulers');

const sigmaTolerance = ({ class: className, config }: Golden): number => {
  if ('rescale_betas_zero_snr' in config) return 1e-5;
  return className.startsWith('KDPM2') ? 1e-6 : 1.3e-7;
};
const sampleTolerance = ({ class: className, config }: Golden): number =>
  'rescale_betas_zero_snr' in config && className.startsWith('Euler') ? 1e-3 : 1e-5;
const length = 16;
const countsInSigma: ReadonlySet<string> = new Set(['EulerDiscreteScheduler', 'HeunDiscreteScheduler', 'LMSDiscreteScheduler']);

/** `least`: what smaller numbers are measured against. */
function assertClose(actual: Float32Array, expected: readonly number[], relative: number, label: string, least = 0): void {
  assert.equal(actual.length, expected.length, label);
  for (const [index, value] of expected.entries()) {
    const found = actual[index] ?? NaN;
    assert.ok(
      Math.abs(found - value) <= relative * Math.max(Math.abs(value), least),
      `${label}[${String(index)}]: ${String(found)}, not ${String(value)}`,
    );
  }
}

/** The largest difference as a share of the largest element. */
function difference(found: Float32Array, expected: Float32Array): number {
  assert.equal(found.length, expected.length);
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return found.reduce((most, value, at) => Math.max(most, Math.abs(value - (expected[at] ?? NaN))), 0) / largest;
}

describe('levels', () => {
  for (const [name, golden] of Object.entries(goldens)) {
    const { class: className, config, runs } = golden;
    it(`${name}: ${runs.map((run) => String(run.steps)).join(', ')} steps`, () => {
      const scheduler = createScheduler('test', { ...base, ...config }, { className });
      assert.equal(scheduler.className, className);
      // Timesteps between the trained ones come from logarithms of noise levels.
      const spread = 'use_karras_sigmas' in config || 'use_exponential_sigmas' in config;
      const fractional = className.startsWith('KDPM2') || (spread && countsInSigma.has(className));
      const timestepTolerance = fractional ? 1e-5 : 0;
      assert.ok(runs.length >= 5);
      for (const run of runs) {
        const { timesteps, sigmas, initNoiseSigma, steps } = scheduler.setTimesteps(run.steps);
        assert.equal(steps.length, run.timesteps.length);
        assertClose(timesteps, run.timesteps, timestepTolerance, `${String(run.steps)} steps, timesteps`, 1);
        assert.equal(sigmas.length, steps.length + 1);
        if (run.sigmas !== undefined) assertClose(sigmas, run.sigmas, sigmaTolerance(golden), `${String(run.steps)} steps, sigmas`);
        assertClose(
          Float32Array.of(initNoiseSigma),
          [run.init_noise_sigma],
          sigmaTolerance(golden),
          `${String(run.steps)} steps, initNoiseSigma`,
        );
      }
    });
  }
});

describe('trajectories', () => {
  for (const [name, golden] of Object.entries(goldens)) {
    const { class: className, config } = golden;
    const tolerance = sampleTolerance(golden);
    it(`${name}: 1, 2, 10, 25 steps`, (t) => {
      const scheduler = createScheduler('test', { ...base, ...config }, { className });
      let worst = 0;
      for (const count of [1, 2, 10, 25]) {
        const rows = (key: string): Float32Array => trajectories[`${name}.${String(count)}.${key}`]?.data ?? assert.fail(key);
        const row = (key: string, index: number): Float32Array => rows(key).subarray(index * length, (index + 1) * length);
        const generator = new Generator(11n);
        const schedule = scheduler.setTimesteps(count);
        const initial = generator.randn([length]).data.map((value) => value * schedule.initNoiseSigma);
        assert.ok(difference(initial, rows('initial')) <= 1e-6);
        const run = new LinearStepRun(schedule, generator);
        let sample: Float32Array = rows('initial').slice();
        for (let index = 0; index < schedule.steps.length; index++) {
          assert.ok(difference(run.scaleModelInput(sample, index), row('scaled', index)) <= tolerance);
          // In place every other time: both must do.
          sample = run.step(row('outputs', index), index, sample, index % 2 === 1 ? sample : undefined);
          worst = Math.max(worst, difference(sample, row('samples', index)));
        }
      }
      t.diagnostic(`largest difference ${worst.toExponential(1)}`);
      assert.ok(worst <= tolerance, String(worst));
    });
  }
});

test('every variant has its golden', () => {
  const counts: Record<string, number> = {};
  for (const { class: className } of Object.values(goldens)) counts[className] = (counts[className] ?? 0) + 1;
  assert.deepEqual(counts, {
    EulerDiscreteScheduler: 14,
    EulerAncestralDiscreteScheduler: 5,
    DDIMScheduler: 9,
    DPMSolverMultistepScheduler: 20,
    UniPCMultistepScheduler: 16,
    LCMScheduler: 5,
    DDPMScheduler: 9,
    DEISMultistepScheduler: 10,
    DPMSolverSinglestepScheduler: 15,
    HeunDiscreteScheduler: 7,
    KDPM2DiscreteScheduler: 6,
    KDPM2AncestralDiscreteScheduler: 6,
    LMSDiscreteScheduler: 7,
    PNDMScheduler: 6,
    TCDScheduler: 6,
  });
});
