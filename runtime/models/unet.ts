/** UNet2DConditionModel of SDXL as a graph (diffusers 0.36 unet_2d_condition.py; Podell et al. 2023, section 2). */
import { GraphBuilder, mulDims, type Graph, type Value } from '../graph/index.js';
import { conv2d, groupNorm, linear, resnet, upsample } from './layers.js';
import { transformer2d } from './transformer.js';
import type { UnetConfig } from './unet-config.js';

/**
 * Inputs: `sample` `[batch, in, height, width]` (already scaled for the timestep), `timestep` `[1]`,
 * `encoder_hidden_states` `[batch, tokens, crossDim]`, `text_embeds` `[batch, pooled]`, `time_ids` `[batch, 6]`.
 * Output: `out_sample`, the predicted noise, sample's shape. Any height and width will do: a level has half of the finer one's rows
 * and columns, rounded up, and what is upsampled is cut to the size of the skip connection that it joins.
 */
export function buildUnet(config: UnetConfig): Graph {
  const b = new GraphBuilder('unet');
  const [batch, height, width] = [b.symbol('batch'), b.symbol('height'), b.symbol('width')];
  const sample = b.input('sample', [batch, config.inChannels, height, width]);
  const timestep = b.input('timestep', [1]);
  const context = b.input('encoder_hidden_states', [batch, b.symbol('tokens'), config.crossAttentionDim]);
  const activatedTime = timeEmbedding(b, config, timestep);
  const norm = { groups: config.normGroups, epsilon: config.normEpsilon };
  const channelsAt = (level: number): number => config.blockOutChannels[level] ?? 0;
  const transformer = (at: string, x: Value, level: number): Value =>
    transformer2d(b, at, x, context, {
      layers: config.transformerLayers[level] ?? 1,
      heads: config.heads[level] ?? 1,
      normGroups: config.normGroups,
    });
  const levels = config.blockOutChannels.length;

  let h = conv2d(b, 'conv_in', sample, channelsAt(0), { kernel: 3 });
  const skips: Value[] = [h];
  for (let level = 0; level < levels; level++) {
    const at = `down_blocks.${String(level)}`;
    for (let layer = 0; layer < config.layersPerBlock; layer++) {
      h = resnet(b, `${at}.resnets.${String(layer)}`, h, channelsAt(level), norm, activatedTime);
      if (config.downHasAttention[level] === true) h = transformer(`${at}.attentions.${String(layer)}`, h, level);
      skips.push(h);
    }
    if (level < levels - 1) {
      h = conv2d(b, `${at}.downsamplers.0.conv`, h, channelsAt(level), { kernel: 3, stride: 2 });
      skips.push(h);
    }
  }

  const coarsest = levels - 1;
  h = resnet(b, 'mid_block.resnets.0', h, channelsAt(coarsest), norm, activatedTime);
  h = transformer('mid_block.attentions.0', h, coarsest);
  h = resnet(b, 'mid_block.resnets.1', h, channelsAt(coarsest), norm, activatedTime);

  for (let up = 0; up < levels; up++) {
    const at = `up_blocks.${String(up)}`;
    const level = coarsest - up;
    for (let layer = 0; layer <= config.layersPerBlock; layer++) {
      const skip = skips.pop();
      if (skip === undefined) throw new Error('the UNet ran out of skip connections');
      const name = `${at}.resnets.${String(layer)}`;
      h = resnet(b, name, b.concat(`${name}.skip`, 1, [h, skip]), channelsAt(level), norm, activatedTime);
      if (config.upHasAttention[up] === true) h = transformer(`${at}.attentions.${String(layer)}`, h, level);
    }
    const [, , rows, columns] = skips.at(-1)?.shape ?? [];
    if (rows !== undefined && columns !== undefined) h = upsample(b, `${at}.upsamplers.0`, h, [rows, columns]);
  }

  h = b.activation('conv_act', 'silu', groupNorm(b, 'conv_norm_out', h, norm.groups, norm.epsilon));
  b.output('out_sample', conv2d(b, 'conv_out', h, config.outChannels, { kernel: 3 }));
  return b.finish();
}

/** Latent rows of each of several bands must be multiples of this, so that every level divides among the ranks. */
export function unetUnit(config: UnetConfig): number {
  return 2 ** (config.blockOutChannels.length - 1);
}

/** SiLU(time embedding + added text and size conditions), `[batch, 4·blockOutChannels[0]]`. */
function timeEmbedding(b: GraphBuilder, config: UnetConfig, timestep: Value): Value {
  const batch = b.symbol('batch');
  const firstChannels = config.blockOutChannels[0] ?? 0;
  const embedDim = 4 * firstChannels;
  const features = { flipSinToCos: config.flipSinToCos, shift: config.frequencyShift, maxPeriod: 10_000 };
  const pooledDim = config.additionInputDim - 6 * config.additionTimeEmbedDim;
  const pooled = b.input('text_embeds', [batch, pooledDim]);
  const timeIds = b.input('time_ids', [batch, 6]);

  const time = embed(b, 'time_embedding', b.sinusoid('time_proj', timestep, { dim: firstChannels, ...features }), embedDim);
  const flatIds = b.reshape('add_time_ids.flat', timeIds, [mulDims(batch, 6)]);
  const idFeatures = b.sinusoid('add_time_proj', flatIds, { dim: config.additionTimeEmbedDim, ...features });
  const ids = b.reshape('add_time_ids', idFeatures, [batch, 6 * config.additionTimeEmbedDim]);
  const added = embed(b, 'add_embedding', b.concat('add_embeds', 1, [pooled, ids]), embedDim);
  return b.activation('time_act', 'silu', b.add('emb', added, time));
}

/** TimestepEmbedding: linear, SiLU, linear. */
function embed(b: GraphBuilder, at: string, x: Value, dim: number): Value {
  const h = b.activation(`${at}.act`, 'silu', linear(b, `${at}.linear_1`, x, dim));
  return linear(b, `${at}.linear_2`, h, dim);
}
