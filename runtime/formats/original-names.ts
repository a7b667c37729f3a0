/**
 * Names of modules in the original layout of SDXL (Stability AI's generative-models), from diffusers' names. The UNet counts its blocks
 * in one row: each level has `layersPerBlock` of them and one for the change of size (openaimodel.py, UNetModel).
 */
import type { UnetConfig } from '../models/index.js';

/** Prefixes of the components in a checkpoint. */
export const originalPrefixes = {
  unet: 'model.diffusion_model.',
  vae: 'first_stage_model.',
  textEncoder: 'conditioner.embedders.0.transformer.',
  textEncoder2: 'conditioner.embedders.1.model.',
} as const;

const unetTop: Readonly<Record<string, string>> = {
  'time_embedding.linear_1': 'time_embed.0',
  'time_embedding.linear_2': 'time_embed.2',
  'add_embedding.linear_1': 'label_emb.0.0',
  'add_embedding.linear_2': 'label_emb.0.2',
  conv_in: 'input_blocks.0.0',
  conv_norm_out: 'out.0',
  conv_out: 'out.2',
};

const resnetParts: Readonly<Record<string, string>> = {
  norm1: 'in_layers.0',
  conv1: 'in_layers.2',
  time_emb_proj: 'emb_layers.1',
  norm2: 'out_layers.0',
  conv2: 'out_layers.3',
  conv_shortcut: 'skip_connection',
};

const attentionParts: Readonly<Record<string, string>> = { group_norm: 'norm', to_q: 'q', to_k: 'k', to_v: 'v', 'to_out.0': 'proj_out' };

/** Of a module of the UNet, without prefix. */
export function originalUnetModule(module: string, config: Pick<UnetConfig, 'layersPerBlock' | 'upHasAttention'>): string {
  const top = unetTop[module];
  if (top !== undefined) return top;
  const match = /^(down_blocks|up_blocks|mid_block)(?:\.(\d+))?\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.+)$/.exec(module);
  if (match === null) throw new Error(`the UNet has no module ${module}`);
  const [, half = '', levelText = '0', part = '', layerText = '0', rest = ''] = match;
  const [level, layer, blocks] = [Number(levelText), Number(layerText), config.layersPerBlock + 1];
  const tail = part === 'resnets' ? (resnetParts[rest] ?? rest) : rest;
  const slot = part === 'attentions' ? 1 : 0;
  if (half === 'mid_block') return `middle_block.${slot === 1 ? 1 : 2 * layer}.${tail}`;
  if (part === 'downsamplers') return `input_blocks.${(level + 1) * blocks}.0.op`;
  if (part === 'upsamplers') {
    const after = config.upHasAttention[level] === true ? 2 : 1;
    return `output_blocks.${level * blocks + config.layersPerBlock}.${after}.conv`;
  }
  return half === 'down_blocks'
    ? `input_blocks.${1 + level * blocks + layer}.${slot}.${tail}`
    : `output_blocks.${level * blocks + layer}.${slot}.${tail}`;
}

/** Of a module of the VAE's decoder, without prefix; `levels` is its number of resolutions. */
export function originalVaeModule(module: string, levels: number): string {
  if (/^(post_quant_conv|decoder\.conv_(in|out))$/.test(module)) return module;
  if (module === 'decoder.conv_norm_out') return 'decoder.norm_out';
  const mid = /^decoder\.mid_block\.(resnets|attentions)\.(\d+)\.(.+)$/.exec(module);
  if (mid !== null) {
    const [, part, index = '0', rest = ''] = mid;
    return part === 'resnets' ? `decoder.mid.block_${Number(index) + 1}.${rest}` : `decoder.mid.attn_1.${attentionParts[rest] ?? rest}`;
  }
  const up = /^decoder\.up_blocks\.(\d+)\.(resnets|upsamplers)\.(\d+)\.(.+)$/.exec(module);
  if (up === null) throw new Error(`the VAE decoder has no module ${module}`);
  const [, block = '0', part, index = '0', rest = ''] = up;
  // The original counts from the finest level.
  const at = `decoder.up.${levels - 1 - Number(block)}`;
  return part === 'resnets' ? `${at}.block.${index}.${rest.replace('conv_shortcut', 'nin_shortcut')}` : `${at}.upsample.conv`;
}

/** OpenCLIP's names of what stands once in the second text encoder. */
export const openClipTop: Readonly<Record<string, string>> = {
  'token_embedding.weight': 'text_model.embeddings.token_embedding.weight',
  positional_embedding: 'text_model.embeddings.position_embedding.weight',
  'ln_final.weight': 'text_model.final_layer_norm.weight',
  'ln_final.bias': 'text_model.final_layer_norm.bias',
};

/** OpenCLIP's names of a layer's modules; its joined query, key and value stand apart. */
export const openClipLayer: Readonly<Record<string, string>> = {
  ln_1: 'layer_norm1',
  ln_2: 'layer_norm2',
  'mlp.c_fc': 'mlp.fc1',
  'mlp.c_proj': 'mlp.fc2',
  'attn.out_proj': 'self_attn.out_proj',
};
