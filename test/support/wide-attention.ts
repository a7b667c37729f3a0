/** Attention of one head with more channels than fused kernels hold, as a graph, and what it is in double. */
import { GraphBuilder, type Graph } from '../../runtime/graph/index.js';
import { float32, Generator, type Tensor } from '../../runtime/tensor/index.js';

export interface WideAttention {
  readonly graph: Graph;
  readonly inputs: Readonly<Record<'q' | 'k' | 'v', Tensor<'f32'>>>;
  readonly expected: Tensor<'f32'>;
}

/** q `[batch, queries, channels]`, k and v `[batch, keys, channels]`, random normal; scores of standard deviation 4. */
export function wideAttention(batch: number, queries: number, keys: number, channels: number): WideAttention {
  const scale = 4 / Math.sqrt(channels);
  const builder = new GraphBuilder('wide_attention');
  const shapes = { q: [batch, queries, channels], k: [batch, keys, channels], v: [batch, keys, channels] };
  const [q, k, v] = Object.entries(shapes).map(([name, shape]) => builder.input(name, shape));
  if (q === undefined || k === undefined || v === undefined) throw new Error('three operands');
  builder.output('y', builder.attention('attention', q, k, v, { heads: 1, scale, causal: false }));
  const random = (name: keyof typeof shapes, seed: bigint): Tensor<'f32'> => new Generator(seed).randn(shapes[name]);
  const inputs = { q: random('q', 1n), k: random('k', 2n), v: random('v', 3n) };
  const expected = float32([batch, queries, channels]);
  const row = ({ data }: Tensor<'f32'>, index: number): Float32Array => data.subarray(index * channels, (index + 1) * channels);
  for (let image = 0; image < batch; image++) {
    for (let query = 0; query < queries; query++) {
      const own = row(inputs.q, image * queries + query);
      const scores = Array.from({ length: keys }, (_, key) => {
        const other = row(inputs.k, image * keys + key);
        return own.reduce((sum, value, channel) => sum + value * (other[channel] ?? 0), 0) * scale;
      });
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((sum, value) => sum + value, 0);
      const out = row(expected, image * queries + query);
      for (let channel = 0; channel < channels; channel++) {
        out[channel] = weights.reduce((sum, value, key) => sum + value * (row(inputs.v, image * keys + key)[channel] ?? 0), 0) / total;
      }
    }
  }
  return { graph: builder.finish(), inputs, expected };
}
