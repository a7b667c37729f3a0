/** Runs a network of the random model on its golden input and says how far it is off. */
import assert from 'node:assert/strict';
import type { Executor } from '../../runtime/engine/index.js';
import type { Mesh } from '../../runtime/parallel/index.js';
import { bandInputs, floatOutput, joinBands } from '../../runtime/pipeline/bands.js';
import type { Tensor } from '../../runtime/tensor/index.js';
import { relativeError } from './fixtures.js';

/**
 * The gate: fp32 sums in another order than torch's differ by about 1e-6 of the largest value; a dropped term moves the output by
 * 2e-3 or more.
 */
export const tolerance = 1e-4;

/** What is asked of an executor here. */
type Runnable = Pick<Executor, 'run'>;
type Goldens = Readonly<Record<string, Tensor<'f32'>>>;

/** Of the golden case `name`: this rank's part of the inputs in, the gathered output against the golden one. */
export async function unetError(executor: Runnable, golden: Goldens, mesh: Mesh, rank: number, name = 'square'): Promise<number> {
  const at = (tensor: string): Tensor<'f32'> => golden[`${name}.${tensor}`] ?? assert.fail(`no golden ${name}.${tensor}`);
  const { outputs } = await executor.run({
    ...bandInputs('sample', at('sample'), mesh, rank),
    timestep: at('timestep'),
    encoder_hidden_states: at('encoder_hidden_states'),
    text_embeds: at('text_embeds'),
    time_ids: at('time_ids'),
  });
  return relativeError(joinBands(floatOutput(outputs, 'out_sample'), mesh), at('output'));
}

/** As {@link unetError}; the golden decodes unscaled latents, the graph divides by the scaling factor. */
export async function vaeError(
  executor: Runnable,
  golden: Goldens,
  mesh: Mesh,
  rank: number,
  scalingFactor: number,
  name = 'square',
): Promise<number> {
  const latents = golden[`${name}.latents`] ?? assert.fail(name);
  const scaled = { ...latents, data: latents.data.map((value) => value * scalingFactor) };
  const { outputs } = await executor.run(bandInputs('latents', scaled, mesh, rank));
  return relativeError(joinBands(floatOutput(outputs, 'image'), mesh), golden[`${name}.image`] ?? assert.fail(name));
}
