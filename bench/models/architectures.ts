/** Model configs for benchmarks: SDXL base itself, and a medium one that two CPU cores can turn over in about a second. */
import type { JsonObject } from '../../runtime/models/index.js';

export interface Architecture {
  readonly unet: JsonObject;
  readonly vae: JsonObject;
  readonly textEncoder: JsonObject;
  readonly textEncoder2: JsonObject;
}

const unetCommon = {
  _class_name: 'UNet2DConditionModel',
  act_fn: 'silu',
  addition_embed_type: 'text_time',
  addition_time_embed_dim: 256,
  down_block_types: ['DownBlock2D', 'CrossAttnDownBlock2D', 'CrossAttnDownBlock2D'],
  up_block_types: ['CrossAttnUpBlock2D', 'CrossAttnUpBlock2D', 'UpBlock2D'],
  mid_block_type: 'UNetMidBlock2DCrossAttn',
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 4,
  out_channels: 4,
  layers_per_block: 2,
  norm_eps: 1e-5,
  norm_num_groups: 32,
  sample_size: 128,
  use_linear_projection: true,
} as const;

const vaeCommon = {
  _class_name: 'AutoencoderKL',
  act_fn: 'silu',
  in_channels: 3,
  out_channels: 3,
  latent_channels: 4,
  layers_per_block: 2,
  norm_num_groups: 32,
  sample_size: 1024,
  scaling_factor: 0.13025,
  force_upcast: true,
  down_block_types: ['DownEncoderBlock2D', 'DownEncoderBlock2D', 'DownEncoderBlock2D', 'DownEncoderBlock2D'],
  up_block_types: ['UpDecoderBlock2D', 'UpDecoderBlock2D', 'UpDecoderBlock2D', 'UpDecoderBlock2D'],
} as const;

const clipCommon = {
  model_type: 'clip_text_model',
  max_position_embeddings: 77,
  layer_norm_eps: 1e-5,
  bos_token_id: 0,
  pad_token_id: 1,
  eos_token_id: 2,
} as const;

export const architectures = {
  /** stabilityai/stable-diffusion-xl-base-1.0: 2.57 G parameters in the UNet. */
  'sdxl-base': {
    unet: {
      ...unetCommon,
      block_out_channels: [320, 640, 1280],
      attention_head_dim: [5, 10, 20],
      transformer_layers_per_block: [1, 2, 10],
      cross_attention_dim: 2048,
      projection_class_embeddings_input_dim: 2816,
    },
    vae: { ...vaeCommon, block_out_channels: [128, 256, 512, 512] },
    textEncoder: {
      ...clipCommon,
      architectures: ['CLIPTextModel'],
      hidden_act: 'quick_gelu',
      hidden_size: 768,
      intermediate_size: 3072,
      num_attention_heads: 12,
      num_hidden_layers: 12,
      projection_dim: 768,
      vocab_size: 49408,
    },
    textEncoder2: {
      ...clipCommon,
      architectures: ['CLIPTextModelWithProjection'],
      hidden_act: 'gelu',
      hidden_size: 1280,
      intermediate_size: 5120,
      num_attention_heads: 20,
      num_hidden_layers: 32,
      projection_dim: 1280,
      vocab_size: 49408,
    },
  },
  /** SDXL's shape at less depth and half the width; see bench/sharding.ts for its FLOP count. */
  medium: {
    unet: {
      ...unetCommon,
      block_out_channels: [160, 320, 640],
      attention_head_dim: [5, 5, 10],
      transformer_layers_per_block: [1, 1, 2],
      cross_attention_dim: 256,
      projection_class_embeddings_input_dim: 1664,
    },
    vae: { ...vaeCommon, block_out_channels: [32, 64, 128, 128] },
    textEncoder: {
      ...clipCommon,
      architectures: ['CLIPTextModel'],
      hidden_act: 'quick_gelu',
      hidden_size: 128,
      intermediate_size: 512,
      num_attention_heads: 4,
      num_hidden_layers: 2,
      projection_dim: 128,
      vocab_size: 1024,
    },
    textEncoder2: {
      ...clipCommon,
      architectures: ['CLIPTextModelWithProjection'],
      hidden_act: 'gelu',
      hidden_size: 128,
      intermediate_size: 512,
      num_attention_heads: 4,
      num_hidden_layers: 2,
      projection_dim: 128,
      vocab_size: 1024,
    },
  },
} as const satisfies Record<string, Architecture>;
export type ArchitectureName = keyof typeof architectures;
