/** AutoencoderKL's decoder as a graph (diffusers 0.36 autoencoder_kl.py, vae.py). */
import { GraphBuilder, mulDims, type Graph, type Value } from '../graph/index.js';
import { conv2d, groupNorm, linear, resnet, upsample } from './layers.js';
import type { VaeConfig } from './vae-config.js';

/**
 * Input: `latents` `[batch, latentChannels, height, width]` as the denoiser leaves them (the scaling factor is applied here).
 * Output: `image` `[batch, 3, f·height, f·width]`, nominally in [−1, 1], not clamped.
 */
export function buildVaeDecoder(config: VaeConfig): Graph {
  const b = new GraphBuilder('vae_decoder');
  const latents = b.input('latents', [b.symbol('batch'), config.latentChannels, b.symbol('height'), b.symbol('width')]);
  const norm = { groups: config.normGroups, epsilon: 1e-6 };
  const channels = config.blockOutChannels.toReversed();
  const widest = channels[0] ?? 0;

  let h = b.affine('scale', latents, 1 / config.scalingFactor, 0);
  if (config.usePostQuantConv) h = conv2d(b, 'post_quant_conv', h, config.latentChannels, { kernel: 1 });
  h = conv2d(b, 'decoder.conv_in', h, widest, { kernel: 3 });
  h = resnet(b, 'decoder.mid_block.resnets.0', h, widest, norm);
  if (config.midBlockAttention) h = midAttention(b, 'decoder.mid_block.attentions.0', h, norm);
  h = resnet(b, 'decoder.mid_block.resnets.1', h, widest, norm);

  channels.forEach((outChannels, block) => {
    const at = `decoder.up_blocks.${String(block)}`;
    for (let layer = 0; layer <= config.layersPerBlock; layer++) {
      h = resnet(b, `${at}.resnets.${String(layer)}`, h, outChannels, norm);
    }
    if (block < channels.length - 1) h = upsample(b, `${at}.upsamplers.0`, h);
  });

  h = b.activation('decoder.conv_act', 'silu', groupNorm(b, 'decoder.conv_norm_out', h, norm.groups, norm.epsilon));
  b.output('image', conv2d(b, 'decoder.conv_out', h, config.outChannels, { kernel: 3 }));
  return b.finish();
}

/** One head over all channels, with group norm before and a residual after. */
function midAttention(b: GraphBuilder, at: string, x: Value, norm: { readonly groups: number; readonly epsilon: number }): Value {
  const [batch = 1, channelsDim = 0, height = 0, width = 0] = x.shape;
  const channels = Number(channelsDim);
  const rows = b.transpose(`${at}.to_tokens`, groupNorm(b, `${at}.group_norm`, x, norm.groups, norm.epsilon), [0, 2, 3, 1]);
  const tokens = b.reshape(`${at}.tokens`, rows, [batch, mulDims(height, width), channels]);
  const k = linear(b, `${at}.to_k`, tokens, channels);
  const v = linear(b, `${at}.to_v`, tokens, channels);
  const q = linear(b, `${at}.to_q`, tokens, channels);
  const attended = b.attention(at, q, k, v, { heads: 1, scale: 1 / Math.sqrt(channels), causal: false });
  const out = b.reshape(`${at}.rows`, linear(b, `${at}.to_out.0`, attended, channels), [batch, height, width, channels]);
  return b.add(`${at}.add`, b.transpose(`${at}.to_image`, out, [0, 3, 1, 2]), x);
}
