/**
 * The operations of a CUDA program: what is left of a graph once movement has become views and neighbours have been fused. Each is
 * one library call or one kernel (two for a group normalisation). The executor binds each to its buffers and tactic; the printer
 * shows them. A new kind does not compile until both handle it.
 */
import type { CollectiveGroup, CollectiveLabel, CollectivePayload, MomentsRule, Padding } from '../../../graph/index.js';
import type { BufferId, MatrixView, View } from './view.js';

/**
 * How often the operations of a part run: once for each prompt, once for each timestep of the schedule (ahead of the image), or once
 * in each denoising step. Graphs that are no denoisers have steps only.
 */
export const stages = ['prompt', 'timestep', 'step'] as const;
export type Stage = (typeof stages)[number];

/** Images side by side along the channels, as a concatenation reads them, and what is added to every pixel of a channel. */
export interface NormSource {
  readonly parts: readonly View[];
  /** `[b, c]`, added on load: the time embedding. */
  readonly shift?: View;
}

interface Norm {
  readonly source: NormSource;
  readonly groups: number;
}

interface NormApply extends Norm {
  /** f32 `[c]` each. */
  readonly weight: BufferId;
  readonly bias: BufferId;
  readonly epsilon: number;
  readonly silu: boolean;
  readonly y: View;
}

export interface OperationKinds {
  /** Cross-correlation, fp32 accumulation, plus bias, plus `residual` where there is one (which may be y itself). */
  conv: {
    readonly x: View;
    /** KRSC. */
    readonly weight: BufferId;
    readonly bias?: BufferId;
    readonly residual?: View;
    readonly y: View;
    readonly kernel: readonly [number, number];
    readonly stride: number;
    readonly padding: Padding;
  };
  /** y = x·Wᵀ + bias, or y += … where `accumulate`. W is `[n, ≥ k]` with rows `weightStride` apart, from `weightOffset`. */
  gemm: {
    readonly x: MatrixView;
    readonly weight: BufferId;
    readonly weightOffset: number;
    readonly weightStride: number;
    readonly bias?: BufferId;
    readonly accumulate: boolean;
    readonly y: MatrixView;
  };
  /** y = factor · x·wᵀ, of two activations; y may be f32. */
  matmul: { readonly x: MatrixView; readonly w: MatrixView; readonly y: MatrixView; readonly factor: number };
  /** Each row of y: factor · softmax of x's row; x is f32. */
  softmax: { readonly x: MatrixView; readonly y: MatrixView; readonly factor: number };
  /** q, y `[b, n, heads·d]`, k and v `[b, m, heads·d]`; the last axis is dense. */
  attention: {
    readonly q: View;
    readonly k: View;
    readonly v: View;
    readonly y: View;
    readonly heads: number;
    readonly scale: number;
    readonly causal: boolean;
  };
  groupNorm: NormApply;
  /** y: f32 `[1, b, groups, 2]`, mean and M2/count. */
  groupMoments: Norm & { readonly y: View };
  /** moments: f32 `[ranks, b, groups, 2]`. `rowMask`: f32, one factor for each row of y. */
  groupNormalize: NormApply & { readonly moments: View; readonly ranks: number; readonly rowMask?: View };
  /** First and last rows of the source, y `[2, b, c, rows, w]`. */
  boundaryRows: { readonly source: NormSource; readonly rows: number; readonly y: View };
  layerNorm: {
    readonly x: MatrixView;
    readonly weight: BufferId;
    readonly bias: BufferId;
    readonly epsilon: number;
    readonly y: MatrixView;
  };
  /** y = value · GELU(gate): the halves of the columns of x·Wᵀ + bias, for which `projection` is room. W as in `gemm`. */
  gatedGemm: {
    readonly x: MatrixView;
    readonly weight: BufferId;
    readonly weightStride: number;
    readonly bias?: BufferId;
    readonly projection: MatrixView;
    readonly y: MatrixView;
  };
  /** y = first half of x's columns · GELU(second half). */
  geglu: { readonly x: MatrixView; readonly y: MatrixView };
  /** y = f(x), or f(x, b) where b's axes of stride 0 broadcast; any strides. */
  pointwise: {
    readonly function: PointwiseFunction;
    readonly x: View;
    readonly b?: View;
    readonly y: View;
    /** For `affine`. */
    readonly factor?: number;
    readonly offset?: number;
  };
  upsample: { readonly x: View; readonly factor: number; readonly y: View };
  embedding: { readonly table: BufferId; readonly width: number; readonly rows: number; readonly ids: View; readonly y: MatrixView };
  selectToken: { readonly x: View; readonly index: View; readonly y: MatrixView };
  sinusoid: {
    readonly x: View;
    readonly y: MatrixView;
    readonly flipSinToCos: boolean;
    readonly shift: number;
    readonly maxPeriod: number;
  };
  /** Each payload's `from` is dense, its `to` too. */
  collective: {
    readonly label: CollectiveLabel;
    readonly group: CollectiveGroup;
    readonly ranks: number;
    readonly payloads: readonly Move[];
  };
  /**
   * Of displaced steps (plan/displace.ts): begins to send what the next step uses, beside the operations that follow. `from` is read in this
   * step's half of the memory that steps leave to each other, peers' parts of `to` are written in the other half.
   */
  sendAhead: { readonly ranks: number; readonly position: number; readonly payloads: readonly Move[] };
  /**
   * Of displaced steps: y, f32 `[1, b, groups, 2]`, by the rule (engine/join-moments.ts) from `own`, this rank's moments of now, and `held`,
   * `[ranks, b, groups, 2]`, those of the step before. `own` takes its place in both halves of `held`: in this one it is sent from, in the other
   * the next step finds what it was.
   */
  joinMoments: {
    readonly own: View;
    readonly held: View;
    readonly ranks: number;
    readonly position: number;
    readonly rule: Exclude<MomentsRule, 'own'>;
    readonly y: View;
  };
}
/** What one payload of an exchange does. */
export interface Move {
  readonly payload: CollectivePayload;
  readonly from: View;
  readonly to: View;
}

export type OperationKind = keyof OperationKinds;
export type PointwiseFunction = 'copy' | 'add' | 'mul' | 'affine' | 'silu' | 'gelu' | 'quickGelu';

export type OperationOf<Kind extends OperationKind> = { readonly kind: Kind; readonly name: string } & OperationKinds[Kind];
export type Operation = { [Kind in OperationKind]: OperationOf<Kind> }[OperationKind];
