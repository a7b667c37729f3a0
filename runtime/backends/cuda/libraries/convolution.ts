/**
 * 2-d convolution by cuDNN: NHWC activations, weights as [out, kernel, kernel, in] (KRSC), fp32 accumulation, with bias and an
 * optional residual added before rounding. Channels are multiples of 8.
 */
import type { CudnnPlan } from './cudnn-plan.js';
import type { DevicePointer } from './memory.js';
import type { Workspace } from './matmul.js';
import type { Stream } from './stream.js';

export interface ConvolutionProblem {
  readonly batch: number;
  /** Of the input. */
  readonly height: number;
  readonly width: number;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernel: 1 | 3;
  readonly stride: 1 | 2;
  readonly padding: { readonly top: number; readonly bottom: number; readonly left: number; readonly right: number };
  readonly dtype: 'f16' | 'bf16';
  readonly bias: boolean;
  /** Whether a tensor of the output's shape is added. It may be the output itself. */
  readonly residual: boolean;
}

export interface ConvolutionOperands {
  /** `[batch, height, width, inChannels]`, dense. */
  readonly x: DevicePointer;
  /** `[outChannels, kernel, kernel, inChannels]`. */
  readonly w: DevicePointer;
  readonly bias?: DevicePointer;
  readonly residual?: DevicePointer;
  readonly y: DevicePointer;
}

/** `[height, width]` of the output. */
export function convolutionOutputSize({ height, width, kernel, stride, padding }: ConvolutionProblem): readonly [number, number] {
  return [
    Math.floor((height + padding.top + padding.bottom - kernel) / stride) + 1,
    Math.floor((width + padding.left + padding.right - kernel) / stride) + 1,
  ];
}

export interface CudnnOperation<Operands> extends Disposable {
  readonly name: string;
  /**
   * Plans worth timing, the heuristic's first choice first; those of mode FALLBACK only where there are no others. The caller
   * closes them. Lets the event loop run between builds. @throws SdxlError ENGINE_BUILD_FAILED where there is none.
   */
  candidates(limit?: number, signal?: AbortSignal): Promise<readonly CudnnPlan[]>;
  /** A plan from {@link CudnnPlan.serialize}; undefined where this version of cuDNN refuses it. */
  deserialize(text: string): CudnnPlan | undefined;
  /** Enqueues. The set of pointers is kept for the next call with the same ones. */
  run(plan: CudnnPlan, operands: Operands, workspace: Workspace, stream: Stream): void;
  close(): void;
}

export type Convolution = CudnnOperation<ConvolutionOperands>;
