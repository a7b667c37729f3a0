/** Scaled dot-product attention by cuDNN, without mask: softmax(Q·Kᵀ · scale) · V per head, fp32 inside. */
import { attribute } from './cudnn-functions.js';
import { CudnnOperation, type CudnnContext, type GraphBuilder, type TensorSpec } from './cudnn-operation.js';
import type { DevicePointer } from './memory.js';
import { NativeMemory } from './native-memory.js';

/** Elements from one image, head and token to the next. Channels of a head are adjacent. */
export interface AttentionStrides {
  readonly batch: number;
  readonly head: number;
  readonly token: number;
}

export interface AttentionProblem {
  readonly batch: number;
  readonly heads: number;
  readonly queryTokens: number;
  readonly keyTokens: number;
  /** A multiple of 8. */
  readonly headDim: number;
  readonly dtype: 'f16' | 'bf16';
  /** 1/√headDim where not given. */
  readonly scale?: number;
  /** Packed projections are given by strides; dense `[batch, tokens, heads, headDim]` where not given. */
  readonly query?: AttentionStrides;
  readonly key?: AttentionStrides;
  readonly value?: AttentionStrides;
  readonly output?: AttentionStrides;
}

export interface AttentionOperands {
  readonly q: DevicePointer;
  readonly k: DevicePointer;
  readonly v: DevicePointer;
  readonly o: DevicePointer;
}

export type Attention = CudnnOperation<AttentionOperands>;

const ids = { q: 1, k: 2, v: 3, o: 4, scale: 5 } as const;

export function createAttention(context: CudnnContext, problem: AttentionProblem): Attention {
  const { batch, heads, queryTokens, keyTokens, headDim, dtype, scale = 1 / Math.sqrt(headDim) } = problem;
  const host = NativeMemory.ofFloats([scale]);
  return new CudnnOperation(
    context,
    `${dtype} attention [${batch}×${heads}×${queryTokens}×${headDim}] over ${keyTokens} keys`,
    (builder) => buildGraph(builder, problem),
    ({ q, k, v, o }) => [
      [ids.q, q],
      [ids.k, k],
      [ids.v, v],
      [ids.o, o],
      [ids.scale, host.address],
    ],
    () => host.close(),
  );
}

function buildGraph(builder: GraphBuilder, problem: AttentionProblem): void {
  const { batch, heads, queryTokens, keyTokens, headDim, dtype } = problem;
  const tensor = (id: number, tokens: number, strides: AttentionStrides = denseStrides(tokens, heads, headDim)): TensorSpec => ({
    id,
    dims: [batch, heads, tokens, headDim],
    strides: [strides.batch, strides.head, strides.token, 1],
    dtype,
  });
  const unit = [1, 1, 1, 1];
  builder.operation(
    builder
      .descriptor('operationAttention')
      .set(attribute.attentionQ, 'descriptor', [builder.tensor(tensor(ids.q, queryTokens, problem.query))])
      .set(attribute.attentionK, 'descriptor', [builder.tensor(tensor(ids.k, keyTokens, problem.key))])
      .set(attribute.attentionV, 'descriptor', [builder.tensor(tensor(ids.v, keyTokens, problem.value))])
      .set(attribute.attentionO, 'descriptor', [builder.tensor(tensor(ids.o, queryTokens, problem.output))])
      .set(attribute.attentionScale, 'descriptor', [
        builder.tensor({ id: ids.scale, dims: unit, strides: unit, dtype: 'f32', byValue: true }),
      ]),
  );
}

/** `[batch, tokens, heads, headDim]` as a projection writes it. */
function denseStrides(tokens: number, heads: number, headDim: number): AttentionStrides {
  return { batch: tokens * heads * headDim, head: headDim, token: heads * headDim };
}
