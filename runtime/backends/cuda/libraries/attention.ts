/** Scaled dot-product attention by cuDNN, without mask: softmax(Q·Kᵀ · scale) · V per head, fp32 inside. */
import type { CudnnOperation } from './convolution.js';
import type { DevicePointer } from './memory.js';

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
