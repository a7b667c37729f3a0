/**
 * 2-d convolution by cuDNN: NHWC activations, weights as [out, kernel, kernel, in] (KRSC), fp32 accumulation, with bias and an
 * optional residual added before rounding. Channels are multiples of 8.
 */
import { attribute, crossCorrelation, cudnnDataType, pointwiseAdd } from './cudnn-functions.js';
import type { Descriptor } from './cudnn-descriptor.js';
import { CudnnOperation, type CudnnContext, type GraphBuilder } from './cudnn-operation.js';
import type { DevicePointer } from './memory.js';

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

export type Convolution = CudnnOperation<ConvolutionOperands>;

/** `[height, width]` of the output. */
export function convolutionOutputSize({ height, width, kernel, stride, padding }: ConvolutionProblem): readonly [number, number] {
  return [
    Math.floor((height + padding.top + padding.bottom - kernel) / stride) + 1,
    Math.floor((width + padding.left + padding.right - kernel) / stride) + 1,
  ];
}

const ids = { x: 1, w: 2, y: 3, bias: 4, residual: 5, product: 6, sum: 7 } as const;

export function createConvolution(context: CudnnContext, problem: ConvolutionProblem): Convolution {
  return new CudnnOperation(
    context,
    nameOf(problem),
    (builder) => buildGraph(builder, problem),
    ({ x, w, y, bias = 0n, residual = 0n }) => [
      [ids.x, x],
      [ids.w, w],
      [ids.y, y],
      ...(problem.bias ? [[ids.bias, bias] as const] : []),
      ...(problem.residual ? [[ids.residual, residual] as const] : []),
    ],
  );
}

/** `f16 3×3 convolution [2×128×128×320] → 320, stride 2, padding 0 1 0 1, + residual + bias`. */
function nameOf({
  batch,
  height,
  width,
  inChannels,
  outChannels,
  kernel,
  stride,
  padding,
  dtype,
  bias,
  residual,
}: ConvolutionProblem): string {
  const { top, bottom, left, right } = padding;
  return (
    `${dtype} ${kernel}×${kernel} convolution [${batch}×${height}×${width}×${inChannels}] → ${outChannels}, stride ${stride}, ` +
    `padding ${top} ${bottom} ${left} ${right}${residual ? ' + residual' : ''}${bias ? ' + bias' : ''}`
  );
}

/** In this order, residual before bias, cuDNN has compiled kernels; in others it compiles one for half a second. */
function buildGraph(builder: GraphBuilder, problem: ConvolutionProblem): void {
  const { batch, height, width, inChannels, outChannels, kernel, stride, padding, dtype, bias, residual } = problem;
  const [outHeight, outWidth] = convolutionOutputSize(problem);
  const shape = channelsLast(batch, outChannels, outHeight, outWidth);
  const virtual = (id: number): Descriptor => builder.tensor({ id, ...shape, dtype: 'f32', virtual: true });
  const x = builder.tensor({ id: ids.x, ...channelsLast(batch, inChannels, height, width), dtype });
  const w = builder.tensor({ id: ids.w, ...channelsLast(outChannels, inChannels, kernel, kernel), dtype });
  const y = builder.tensor({ id: ids.y, ...shape, dtype });
  const product = bias || residual ? virtual(ids.product) : y;
  const convolution = builder
    .descriptor('convolution')
    .set(attribute.convolutionSpatialDims, 'int64', [2])
    .set(attribute.convolutionPrecision, 'dataType', [cudnnDataType.f32])
    .set(attribute.convolutionMode, 'convolutionMode', [crossCorrelation])
    .set(attribute.convolutionDilations, 'int64', [1, 1])
    .set(attribute.convolutionStrides, 'int64', [stride, stride])
    .set(attribute.convolutionPrePadding, 'int64', [padding.top, padding.left])
    .set(attribute.convolutionPostPadding, 'int64', [padding.bottom, padding.right])
    .finalize();
  builder.operation(
    builder
      .descriptor('operationConvolution')
      .set(attribute.convolutionForwardDescriptor, 'descriptor', [convolution])
      .set(attribute.convolutionForwardX, 'descriptor', [x])
      .set(attribute.convolutionForwardW, 'descriptor', [w])
      .set(attribute.convolutionForwardY, 'descriptor', [product])
      .set(attribute.convolutionForwardAlpha, 'float', [1])
      .set(attribute.convolutionForwardBeta, 'float', [0]),
  );
  let sum = product;
  if (residual) {
    const next = bias ? virtual(ids.sum) : y;
    addition(builder, sum, builder.tensor({ id: ids.residual, ...shape, dtype }), next);
    sum = next;
  }
  if (bias) addition(builder, sum, builder.tensor({ id: ids.bias, ...channelsLast(1, outChannels, 1, 1), dtype }), y);
}

function addition(builder: GraphBuilder, x: Descriptor, b: Descriptor, y: Descriptor): void {
  const pointwise = builder
    .descriptor('pointwise')
    .set(attribute.pointwiseMode, 'pointwiseMode', [pointwiseAdd])
    .set(attribute.pointwisePrecision, 'dataType', [cudnnDataType.f32])
    .finalize();
  builder.operation(
    builder
      .descriptor('operationPointwise')
      .set(attribute.pointwiseDescriptor, 'descriptor', [pointwise])
      .set(attribute.pointwiseX, 'descriptor', [x])
      .set(attribute.pointwiseB, 'descriptor', [b])
      .set(attribute.pointwiseY, 'descriptor', [y]),
  );
}

/** cuDNN names dimensions N, C, H, W always; that the channels lie together, the strides tell. */
function channelsLast(
  n: number,
  c: number,
  h: number,
  w: number,
): { readonly dims: readonly number[]; readonly strides: readonly number[] } {
  return { dims: [n, c, h, w], strides: [h * w * c, 1, w * c, c] };
}
