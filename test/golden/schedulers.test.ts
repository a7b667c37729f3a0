/** Timesteps, noise levels and a trajectory of diffusers' EulerDiscreteScheduler; tolerances: test/fixtures/make_goldens.py. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { packageFile } from '../../runtime/package-root.js';
import { createScheduler, openScheduler } from '../../runtime/schedulers/index.js';
import { SafetensorsFile } from '../../runtime/weights/index.js';

interface Run {
  readonly steps: number;
  readonly timesteps: number[];
  readonly sigmas: number[];
  readonly init_noise_sigma: number;
}
type Goldens = Record<string, { config: Record<string, unknown>; runs: Run[] }>;

const folder = packageFile('test/fixtures/random-sdxl/scheduler');
const base = JSON.parse(await readFile(`${folder}/scheduler_config.json`, 'utf8')) as Record<string, unknown>;
const goldens = JSON.parse(await readFile(packageFile('test/fixtures/goldens/schedulers.json'), 'utf8')) as Goldens;
const sigmaTolerance = 1.3e-7;

function assertClose(actual: Float32Array, expected: readonly number[], relative: number, label: string): void {
  assert.equal(actual.length, expected.length, label);
  for (const [index, value] of expected.entries()) {
    const found = actual[index] ?? NaN;
    assert.ok(Math.abs(found - value) <= relative * Math.abs(value), `${label}[${String(index)}]: ${String(found)}, not ${String(value)}`);
  }
}

for (const [name, { config, runs }] of Object.entries(goldens)) {
  test(`${name}: ${runs.map((run) => String(run.steps)).join(', ')} steps`, () => {
    const scheduler = createScheduler('test', { ...base, ...config });
    // Karras timesteps are fractional: they come from logarithms of the noise levels.
    const timestepTolerance = 'use_karras_sigmas' in config ? 1e-5 : 0;
    assert.equal(runs.length, 7);
    for (const run of runs) {
      const { timesteps, sigmas, initNoiseSigma } = scheduler.setTimesteps(run.steps);
      assertClose(timesteps, run.timesteps, timestepTolerance, `${String(run.steps)} steps, timesteps`);
      assertClose(sigmas, run.sigmas, sigmaTolerance, `${String(run.steps)} steps, sigmas`);
      assertClose(Float32Array.of(initNoiseSigma), [run.init_noise_sigma], sigmaTolerance, `${String(run.steps)} steps, initNoiseSigma`);
    }
  });
}

test('every variant has its golden', () => assert.equal(Object.keys(goldens).length, 9));

test('a trajectory of thirteen steps: the samples are equal bit by bit', async () => {
  await using file = await SafetensorsFile.open(packageFile('test/fixtures/goldens/euler-trajectory.safetensors'));
  const read = async (name: string): Promise<Float32Array> => (await file.readFloat32(name)).data;
  const schedule = (await openScheduler(folder)).setTimesteps(13);
  const run = schedule.begin();
  let sample = await read('initial');
  for (const index of schedule.timesteps.keys()) {
    const scaled = run.scaleModelInput(sample, index);
    // Two units in the last place: one of the divisor, a square root of torch's, and one of the division.
    assertClose(scaled, [...(await read(`${String(index)}.scaled`))], 2 * sigmaTolerance, `scaled ${String(index)}`);
    const inPlace = index % 2 === 1;
    sample = run.step(await read(`${String(index)}.output`), index, sample, inPlace ? sample : undefined);
    assert.deepEqual(sample, await read(`${String(index)}.sample`), `sample ${String(index)}`);
  }
});
