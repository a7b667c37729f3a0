/** Runs a network of the random model on its golden input and says how far it is off. */
import assert from 'node:assert/strict';
import type { Executor } from '../../runtime/engine/index.js';
import type { Mesh } from '../../runtime/parallel/index.js';
import { bandInputs, joinBands } from '../../runtime/pipeline/bands.js';
import type { Tensor } from '../../runtime/tensor/index.js';
import { relativeError } from './fixtures.js';

/**
 * The gate: fp32 sums in another order than torch's differ by about 1e-6 of the largest value; a dropped term moves the output by
 * 2e-3 or more.
 */
export const tolerance = 1e-4;

export async function unetError(executor: Executor, golden: Record<string, Tensor<'f32'>>, mesh: Mesh, rank: number): Promise<number> {
  const at = (name: string): Tensor<'f32'> => golden[`square.${name}`] ?? assert.fail(name);
  const { outputs } = await executor.run({
    ...bandInputs('sample', at('sample'), mesh, rank),
    timestep: at('timestep'),
    encoder_hidden_states: at('encoder_hidden_states'),
    text_embeds: at('text_embeds'),
    time_ids: at('time_ids'),
  });
  return relativeError(joinBands(outputs['out_sample'] as Tensor<'f32'>, mesh), at('output'));
}

export async function vaeError(
  executor: Executor,
  golden: Record<string, Tensor<'f32'>>,
  mesh: Mesh,
  rank: number,
  scale: number,
): Promise<number> {
  const latents = golden['square.latents'] ?? assert.fail();
  const scaled = { ...latents, data: latents.data.map((value) => value * scale) };
  const { outputs } = await executor.run(bandInputs('latents', scaled, mesh, rank));
  return relativeError(joinBands(outputs['image'] as Tensor<'f32'>, mesh), golden['square.image'] ?? assert.fail());
}
