/**
 * Transformer2DModel with linear projections, as in SDXL (diffusers 0.36 transformer_2d.py, attention.py): group norm, tokens,
 * proj_in, blocks of self-attention, cross-attention and GEGLU feed-forward, proj_out, residual.
 */
import { mulDims, type GraphBuilder, type Value } from '../graph/index.js';
import { groupNorm, layerNorm, linear } from './layers.js';

export interface TransformerShape {
  readonly layers: number;
  readonly heads: number;
  readonly normGroups: number;
}

/** x `[batch, c, h, w]`, context `[batch, tokens, crossDim]` → x's shape. */
export function transformer2d(b: GraphBuilder, at: string, x: Value, context: Value, shape: TransformerShape): Value {
  const [batch = 1, channelsDim = 0, height = 0, width = 0] = x.shape;
  const channels = Number(channelsDim);
  const normed = groupNorm(b, `${at}.norm`, x, shape.normGroups, 1e-6);
  const rows = b.transpose(`${at}.to_tokens`, normed, [0, 2, 3, 1]);
  let tokens = linear(b, `${at}.proj_in`, b.reshape(`${at}.tokens`, rows, [batch, mulDims(height, width), channels]), channels);
  for (let layer = 0; layer < shape.layers; layer++) {
    tokens = block(b, `${at}.transformer_blocks.${String(layer)}`, tokens, context, shape.heads);
  }
  const out = b.reshape(`${at}.rows`, linear(b, `${at}.proj_out`, tokens, channels), [batch, height, width, channels]);
  return b.add(`${at}.add`, b.transpose(`${at}.to_image`, out, [0, 3, 1, 2]), x);
}

function block(b: GraphBuilder, at: string, x: Value, context: Value, heads: number): Value {
  const normed1 = layerNorm(b, `${at}.norm1`, x);
  const h = b.add(`${at}.add1`, attention(b, `${at}.attn1`, normed1, normed1, heads), x);
  const h2 = b.add(`${at}.add2`, attention(b, `${at}.attn2`, layerNorm(b, `${at}.norm2`, h), context, heads), h);
  return b.add(`${at}.add3`, feedForward(b, `${at}.ff`, layerNorm(b, `${at}.norm3`, h2)), h2);
}

/** Multi-head attention of x on `context`; K and V come first so that a sharded graph can send them as early as possible. */
function attention(b: GraphBuilder, at: string, x: Value, context: Value, heads: number): Value {
  const channels = Number(x.shape.at(-1));
  const k = linear(b, `${at}.to_k`, context, channels, { bias: false });
  const v = linear(b, `${at}.to_v`, context, channels, { bias: false });
  const q = linear(b, `${at}.to_q`, x, channels, { bias: false });
  const scale = 1 / Math.sqrt(channels / heads);
  return linear(b, `${at}.to_out.0`, b.attention(at, q, k, v, { heads, scale, causal: false }), channels);
}

/** GEGLU (Shazeer 2020, section 2): half of a projection to 8C gates the other half by GELU. */
function feedForward(b: GraphBuilder, at: string, x: Value): Value {
  const channels = Number(x.shape.at(-1));
  const inner = 4 * channels;
  const projected = linear(b, `${at}.net.0.proj`, x, 2 * inner);
  const value = b.slice(`${at}.value`, projected, 2, 0, inner);
  const gate = b.activation(`${at}.gelu`, 'gelu', b.slice(`${at}.gate`, projected, 2, inner, 2 * inner));
  return linear(b, `${at}.net.2`, b.mul(`${at}.geglu`, value, gate), channels);
}
