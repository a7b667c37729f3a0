/** Layers that several models share, in the vocabulary of diffusers' modules; weights are named by their module path. */
import type { Dim, GraphBuilder, Value } from '../graph/index.js';

/** Linear layer `[…, in]` → `[…, out]` at module path `at`. */
export function linear(b: GraphBuilder, at: string, x: Value, outFeatures: number, options: { bias?: boolean } = {}): Value {
  const inFeatures = Number(x.shape.at(-1));
  const weight = b.weight(`${at}.weight`, [outFeatures, inFeatures]);
  const bias = (options.bias ?? true) ? b.weight(`${at}.bias`, [outFeatures]) : undefined;
  return b.linear(at, x, weight, bias);
}

/** Square convolution; `kernel` 3 keeps the size (padding 1), 1 is pointwise. */
export function conv2d(
  b: GraphBuilder,
  at: string,
  x: Value,
  outChannels: number,
  options: { kernel: 1 | 3; stride?: number },
): Value {
  const { kernel, stride = 1 } = options;
  const weight = b.weight(`${at}.weight`, [outChannels, Number(x.shape[1]), kernel, kernel]);
  return b.conv2d(at, x, weight, b.weight(`${at}.bias`, [outChannels]), { stride, padding: kernel === 3 ? 1 : 0 });
}

export function groupNorm(b: GraphBuilder, at: string, x: Value, groups: number, epsilon: number): Value {
  const channels = Number(x.shape[1]);
  return b.groupNorm(at, x, b.weight(`${at}.weight`, [channels]), b.weight(`${at}.bias`, [channels]), { groups, epsilon });
}

export function layerNorm(b: GraphBuilder, at: string, x: Value, epsilon = 1e-5): Value {
  const features = Number(x.shape.at(-1));
  return b.layerNorm(at, x, b.weight(`${at}.weight`, [features]), b.weight(`${at}.bias`, [features]), epsilon);
}

/** diffusers 0.36 ResnetBlock2D: norm, SiLU, conv, (+ time embedding), norm, SiLU, conv, + shortcut. */
export function resnet(
  b: GraphBuilder,
  at: string,
  x: Value,
  outChannels: number,
  norm: { readonly groups: number; readonly epsilon: number },
  /** SiLU of the time embedding, `[batch, dim]`. */
  activatedTime?: Value,
): Value {
  let h = b.activation(`${at}.nonlinearity_1`, 'silu', groupNorm(b, `${at}.norm1`, x, norm.groups, norm.epsilon));
  h = conv2d(b, `${at}.conv1`, h, outChannels, { kernel: 3 });
  if (activatedTime !== undefined) {
    const shift = linear(b, `${at}.time_emb_proj`, activatedTime, outChannels);
    h = b.add(`${at}.add_time`, h, b.reshape(`${at}.time_shape`, shift, [shift.shape[0] ?? 1, outChannels, 1, 1]));
  }
  h = b.activation(`${at}.nonlinearity_2`, 'silu', groupNorm(b, `${at}.norm2`, h, norm.groups, norm.epsilon));
  h = conv2d(b, `${at}.conv2`, h, outChannels, { kernel: 3 });
  const shortcut = Number(x.shape[1]) === outChannels ? x : conv2d(b, `${at}.conv_shortcut`, x, outChannels, { kernel: 1 });
  return b.add(`${at}.add_shortcut`, shortcut, h);
}

/** Nearest ×2, cut to `size` where it is given, then a 3×3 convolution (diffusers 0.36 Upsample2D). */
export function upsample(b: GraphBuilder, at: string, x: Value, size?: readonly [Dim, Dim]): Value {
  return conv2d(b, `${at}.conv`, b.upsampleNearest(`${at}.interpolate`, x, 2, size), Number(x.shape[1]), { kernel: 3 });
}
