/** AutoencoderKL's config.json; only its decoder is used. */
import { ConfigReader, type JsonObject } from './config.js';

export interface VaeConfig {
  readonly latentChannels: number;
  readonly outChannels: number;
  readonly blockOutChannels: readonly number[];
  readonly layersPerBlock: number;
  readonly normGroups: number;
  readonly scalingFactor: number;
  readonly usePostQuantConv: boolean;
  readonly midBlockAttention: boolean;
  /** Whether the decoder must not run in fp16 (stock SDXL weights overflow). */
  readonly forceUpcast: boolean;
}

/** Pixels per latent element along one side. */
export function vaeScaleFactor(config: VaeConfig): number {
  return 2 ** (config.blockOutChannels.length - 1);
}

export function parseVaeConfig(json: JsonObject, source: string): VaeConfig {
  const read = new ConfigReader(json, source);
  read.only('_class_name', 'AutoencoderKL');
  const blockOutChannels = read.integers('block_out_channels');
  read.listOf('up_block_types', ['UpDecoderBlock2D'], blockOutChannels.length);
  const config: VaeConfig = {
    latentChannels: read.integer('latent_channels', 4),
    outChannels: read.integer('out_channels', 3),
    blockOutChannels,
    layersPerBlock: read.integer('layers_per_block', 1),
    normGroups: read.integer('norm_num_groups', 32),
    scalingFactor: read.number('scaling_factor', 0.18215),
    usePostQuantConv: read.boolean('use_post_quant_conv', true),
    midBlockAttention: read.boolean('mid_block_add_attention', true),
    forceUpcast: read.boolean('force_upcast', true),
  };
  read.only('act_fn', 'silu');
  read.only('latents_mean', null);
  read.only('latents_std', null);
  read.only('shift_factor', null);
  // The encoder's half, and the size it was trained at.
  read.ignore('down_block_types', 'in_channels', 'sample_size', 'use_quant_conv');
  read.finish();
  if (config.outChannels !== 3) read.refuse('out_channels', '3');
  if (!(config.scalingFactor > 0)) read.refuse('scaling_factor', 'a number above 0');
  return config;
}
