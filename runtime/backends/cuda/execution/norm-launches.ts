/** Launches of group normalisation and of what travels with it; see kernels/group-norm.cu. */
import { KernelArguments, type KernelArgument } from '../libraries/index.js';
import type { NormSource, OperationOf } from '../plan/operations.js';
import { product, type View } from '../plan/view.js';
import type { KernelSet } from './kernels.js';
import type { Addresses, KernelLaunch } from './launch.js';

/** Memory that the two passes share, and that nothing else may touch between them. One for each stream. */
export interface NormScratch {
  /** Σ and Σ² of every chunk. */
  readonly partial: bigint;
  /** Zeroed once; kernels leave it so. */
  readonly tickets: bigint;
  /** Of a norm's first pass. */
  readonly moments: bigint;
}

export const normScratchBytes = {
  partial: 8 << 20,
  tickets: 1 << 12,
  moments: 1 << 16,
} as const;

const nothing: KernelArgument = { pointer: 0n };
const targetThreads = 512;

export interface Geometry {
  readonly channels: number;
  readonly batch: number;
  readonly height: number;
  readonly width: number;
  readonly threads: number;
  readonly lanes: number;
}

export function geometry(shape: readonly number[]): Geometry {
  const [batch = 1, channels = 8, height = 1, width = 1] = shape;
  const octets = channels / 8;
  if (octets > targetThreads) throw new Error(`${String(channels)} channels are more than a group norm's block holds`);
  let lanes = Math.max(1, Math.floor(targetThreads / octets));
  // Whole warps, where that costs few threads.
  while (lanes > 1 && (octets * lanes) % 32 !== 0 && octets * lanes > targetThreads / 2) lanes--;
  return { channels, batch, height, width, threads: octets * lanes, lanes };
}

/** Parts, their strides, and the channels of the first. */
export function sourceArguments({ parts }: NormSource, addresses: Addresses): KernelArgument[] {
  const [first, second = first, ...others] = parts;
  if (first === undefined || second === undefined || others.length > 0) throw new Error('an image in more than two parts');
  const strides = ({ strides: [batch = 0, , row = 0, column = 0] }: View): KernelArgument[] => [
    { i64: batch },
    { i64: row },
    { i64: column },
  ];
  return [
    { pointer: addresses.of(first) },
    { pointer: addresses.of(second) },
    ...strides(first),
    ...strides(second),
    { i32: first.shape[1] ?? 0 },
  ];
}

export function shiftArguments({ shift }: NormSource, addresses: Addresses): KernelArgument[] {
  return shift === undefined ? [nothing, { i64: 0 }] : [{ pointer: addresses.of(shift) }, { i64: shift.strides[0] ?? 0 }];
}

export function sourceShape({ parts }: NormSource): readonly number[] {
  const [first] = parts;
  if (first === undefined) throw new Error('an image without parts');
  return first.shape.with(
    1,
    parts.reduce((sum, part) => sum + (part.shape[1] ?? 0), 0),
  );
}

/** How the first pass cuts an image into chunks; the second reads them. */
function chunksOf(
  { batch, height, width, lanes }: Geometry,
  multiprocessors: number,
): { readonly chunks: number; readonly chunkPixels: number } {
  const pixels = height * width;
  // A block has a fixed cost (references, reduction): a few blocks a multiprocessor, each with several pixels a thread.
  const wanted = Math.max(1, Math.floor((multiprocessors * 2) / batch));
  const chunkPixels = Math.max(lanes * 4, Math.ceil(pixels / wanted / lanes) * lanes);
  return { chunks: Math.ceil(pixels / chunkPixels), chunkPixels };
}

/** The number by which a kernel divides pixels into rows: all of them where no operand has gaps between its rows. */
export function rowLength({ width, height }: Geometry, views: readonly View[]): number {
  const dense = views.every(({ strides: [, , row = 0, column = 0] }) => row === width * column);
  return dense ? width * height : width;
}

/** First pass: moments, for the second or for the peers. */
export function statisticsLaunch(
  kernels: KernelSet,
  addresses: Addresses,
  scratch: NormScratch,
  operation: OperationOf<'groupNorm'> | OperationOf<'groupMoments'>,
  multiprocessors: number,
): KernelLaunch {
  const size = geometry(sourceShape(operation.source));
  const { channels, batch, height, width, threads, lanes } = size;
  const { chunks, chunkPixels } = chunksOf(size, multiprocessors);
  if (batch * chunks * operation.groups * 8 > normScratchBytes.partial)
    throw new Error(`${operation.name} needs more scratch than there is`);
  const values = new KernelArguments([
    ...sourceArguments(operation.source, addresses),
    ...shiftArguments(operation.source, addresses),
    { i32: channels },
    { i32: rowLength(size, operation.source.parts) },
    { i32: height * width },
    { i32: chunkPixels },
    { i32: lanes },
    { i32: operation.groups },
    { pointer: scratch.partial },
    { pointer: scratch.tickets },
    { pointer: operation.kind === 'groupNorm' ? scratch.moments : addresses.of(operation.y) },
  ]);
  return { kernel: kernels.groupStatistics, grid: [chunks, batch], block: [threads], sharedBytes: lanes * channels * 8, values };
}

/** Second pass: scale and offset, from the first pass's moments or from those of every band. */
export function applyLaunch(
  kernels: KernelSet,
  addresses: Addresses,
  scratch: NormScratch,
  operation: OperationOf<'groupNorm'> | OperationOf<'groupNormalize'>,
  multiprocessors: number,
): KernelLaunch {
  const size = geometry(sourceShape(operation.source));
  const { channels, batch, height, width, threads, lanes } = size;
  const pixels = height * width;
  // As many blocks as run at once, two a multiprocessor.
  const wanted = Math.max(1, Math.floor((multiprocessors * 2) / batch));
  const chunkPixels = Math.max(lanes * 4, Math.ceil(pixels / wanted / lanes) * lanes);
  const [yBatch = 0, , yRow = 0, yColumn = 0] = operation.y.strides;
  const merged = operation.kind === 'groupNormalize' ? operation : undefined;
  const values = new KernelArguments([
    ...sourceArguments(operation.source, addresses),
    ...shiftArguments(operation.source, addresses),
    { i32: channels },
    // A mask is looked up by row.
    { i32: merged?.rowMask === undefined ? rowLength(size, [...operation.source.parts, operation.y]) : width },
    { i32: pixels },
    { i32: chunkPixels },
    { i32: lanes },
    { i32: operation.groups },
    { pointer: merged === undefined ? scratch.moments : addresses.of(merged.moments) },
    { i32: merged?.ranks ?? 1 },
    { f32: operation.epsilon },
    { pointer: addresses.buffer(operation.weight) },
    { pointer: addresses.buffer(operation.bias) },
    { i32: operation.silu ? 1 : 0 },
    merged?.rowMask === undefined ? nothing : { pointer: addresses.of(merged.rowMask) },
    { pointer: addresses.of(operation.y) },
    { i64: yBatch },
    { i64: yRow },
    { i64: yColumn },
  ]);
  const grid = [Math.ceil(pixels / chunkPixels), batch] as const;
  return { kernel: kernels.groupApply, grid, block: [threads], sharedBytes: operation.groups * 8, values };
}

/** `next`: addresses in the half of the memory that the next step reads. */
export function joinLaunch(kernels: KernelSet, addresses: Addresses, next: Addresses, operation: OperationOf<'joinMoments'>): KernelLaunch {
  const { own, held, ranks, position, rule, y } = operation;
  const count = product(own.shape) / 2;
  const values = new KernelArguments([
    { pointer: addresses.of(own) },
    { pointer: addresses.of(held) },
    { pointer: next.of(held) },
    { pointer: addresses.of(y) },
    { i32: count },
    { i32: ranks },
    { i32: position },
    { i32: rule === 'corrected' ? 1 : 0 },
  ]);
  return { kernel: kernels.joinMoments, grid: [Math.ceil(count / 128)], block: [128], sharedBytes: 0, values };
}

export function boundaryLaunch(kernels: KernelSet, addresses: Addresses, operation: OperationOf<'boundaryRows'>): KernelLaunch {
  const { channels, batch, height, width } = geometry(sourceShape(operation.source));
  const values = new KernelArguments([
    ...sourceArguments(operation.source, addresses),
    ...shiftArguments(operation.source, addresses),
    { i32: channels },
    { i32: height },
    { i32: operation.rows },
    { pointer: addresses.of(operation.y) },
  ]);
  const block = Math.min(256, Math.ceil(channels / 8));
  return { kernel: kernels.boundaryRows, grid: [width, operation.rows * 2, batch], block: [block], sharedBytes: 0, values };
}
