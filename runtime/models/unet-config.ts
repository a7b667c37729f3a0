/** UNet2DConditionModel's config.json, as SDXL uses it. */
import { ConfigReader, type JsonObject } from './config.js';

export interface UnetConfig {
  readonly sampleSize: number;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly blockOutChannels: readonly number[];
  readonly layersPerBlock: number;
  /** Per level: whether its resnets are followed by transformers, down and up. */
  readonly downHasAttention: readonly boolean[];
  readonly upHasAttention: readonly boolean[];
  readonly transformerLayers: readonly number[];
  /** Attention heads per level (the config calls them `attention_head_dim`). */
  readonly heads: readonly number[];
  readonly crossAttentionDim: number;
  readonly normGroups: number;
  readonly normEpsilon: number;
  readonly flipSinToCos: boolean;
  readonly frequencyShift: number;
  readonly additionTimeEmbedDim: number;
  /** Width of [pooled, embedded time ids]. */
  readonly additionInputDim: number;
}

export function parseUnetConfig(json: JsonObject, source: string): UnetConfig {
  const read = new ConfigReader(json, source);
  read.only('_class_name', 'UNet2DConditionModel');
  const blockOutChannels = read.integers('block_out_channels');
  const levels = blockOutChannels.length;
  const down = read.listOf('down_block_types', ['DownBlock2D', 'CrossAttnDownBlock2D'], levels);
  const up = read.listOf('up_block_types', ['UpBlock2D', 'CrossAttnUpBlock2D'], levels);
  const config: UnetConfig = {
    sampleSize: read.integer('sample_size', 128),
    inChannels: read.integer('in_channels', 4),
    outChannels: read.integer('out_channels', 4),
    blockOutChannels,
    layersPerBlock: read.integer('layers_per_block', 2),
    downHasAttention: down.map((type) => type === 'CrossAttnDownBlock2D'),
    upHasAttention: up.map((type) => type === 'CrossAttnUpBlock2D'),
    transformerLayers: read.integerPerLevel('transformer_layers_per_block', levels, 1),
    heads: read.integerPerLevel('attention_head_dim', levels, 8),
    crossAttentionDim: read.integer('cross_attention_dim'),
    normGroups: read.integer('norm_num_groups', 32),
    normEpsilon: read.number('norm_eps', 1e-5),
    flipSinToCos: read.boolean('flip_sin_to_cos', true),
    frequencyShift: read.number('freq_shift', 0),
    additionTimeEmbedDim: read.integer('addition_time_embed_dim'),
    additionInputDim: read.integer('projection_class_embeddings_input_dim'),
  };
  read.oneOf('addition_embed_type', ['text_time']);
  read.only('mid_block_type', 'UNetMidBlock2DCrossAttn');
  read.only('use_linear_projection', true);
  if (json['use_linear_projection'] !== true) read.refuse('use_linear_projection', 'true');
  read.only('act_fn', 'silu');
  read.only('attention_type', 'default');
  read.only('center_input_sample', false);
  read.only('conv_in_kernel', 3);
  read.only('conv_out_kernel', 3);
  read.only('downsample_padding', 1);
  read.only('mid_block_scale_factor', 1);
  read.only('resnet_out_scale_factor', 1, null);
  read.only('resnet_time_scale_shift', 'default');
  read.only('time_embedding_type', 'positional');
  read.only('cross_attention_norm', null);
  read.only('time_embedding_dim', null);
  // addition_embed_type_num_heads belongs to other addition embeddings; dropout acts in training only.
  read.ignore('addition_embed_type_num_heads', 'dropout', 'num_attention_heads');
  read.only('num_attention_heads', null);
  read.finish();
  blockOutChannels.forEach((channels, level) => {
    if (channels % config.normGroups !== 0) read.refuse('norm_num_groups', `a divisor of ${String(channels)}`);
    if (channels % (config.heads[level] ?? 1) !== 0) read.refuse('attention_head_dim', `divisors of block_out_channels (number of heads)`);
  });
  return config;
}
