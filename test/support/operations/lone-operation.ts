/**
 * Operations of planned programs by themselves: which of them differ, which buffers they touch, and what those hold in a test. Values
 * repeat with a period that no size or stride divides, so that an element is known by its index, however large the buffer.
 */
import { buffersOf } from '../../../runtime/backends/cuda/plan/memory.js';
import { stages, type NormSource, type Operation } from '../../../runtime/backends/cuda/plan/operations.js';
import { describeOperation } from '../../../runtime/backends/cuda/plan/print.js';
import type { BufferSpec, Program } from '../../../runtime/backends/cuda/plan/program.js';
import type { BufferId, ElementType, MatrixView, View } from '../../../runtime/backends/cuda/plan/view.js';
import { bfloat16ToFloat32, float16ToFloat32, Generator, numberToFloat16 } from '../../../runtime/tensor/index.js';

export type HalfType = 'f16' | 'bf16';
/** Everything but what needs peers, or a step before. */
export type ComputedOperation = Exclude<Operation, { readonly kind: 'collective' | 'sendAhead' | 'joinMoments' }>;

export interface LoneOperation {
  readonly operation: ComputedOperation;
  /** Kind and shapes. */
  readonly label: string;
  /** How many of the program are like it. */
  readonly count: number;
  readonly buffers: ReadonlyMap<BufferId, BufferSpec>;
}

/** One of each: equal but for names, for which buffers they use and for where in them they begin. */
export function distinctOperations(program: Program, known = new Set<string>()): readonly LoneOperation[] {
  const groups = new Map<string, { operation: ComputedOperation; count: number }>();
  for (const operation of stages.flatMap((stage) => program.operations[stage])) {
    if (operation.kind === 'collective' || operation.kind === 'sendAhead' || operation.kind === 'joinMoments') continue;
    const key = keyOf(operation);
    const group = groups.get(key) ?? { operation, count: 0 };
    group.count++;
    groups.set(key, group);
  }
  return [...groups].flatMap(([key, { operation, count }]) => {
    if (known.has(key)) return [];
    known.add(key);
    const buffers = new Map<BufferId, BufferSpec>();
    for (const buffer of touchedBuffers(operation)) {
      const spec = program.buffers[buffer];
      if (spec !== undefined) buffers.set(buffer, spec);
    }
    return [{ operation, label: `${operation.kind} ${describeOperation(operation)}`, count, buffers }];
  });
}

const bufferFields: ReadonlySet<string> = new Set(['buffer', 'weight', 'bias', 'table']);
const offsetFields: ReadonlySet<string> = new Set(['offset', 'weightOffset']);
/** Elements of 16 bytes, the alignment kernels care for. */
const alignment = 8;

function keyOf(operation: Operation): string {
  const numbers = new Map<number, number>();
  return JSON.stringify(operation, (field, value: unknown) => {
    if (field === 'name') return undefined;
    if (typeof value !== 'number') return value;
    if (offsetFields.has(field)) return value % alignment;
    if (!bufferFields.has(field)) return value;
    const number = numbers.get(value) ?? numbers.size;
    numbers.set(value, number);
    return number;
  });
}

function touchedBuffers(operation: Operation): ReadonlySet<BufferId> {
  const touched = new Set(buffersOf(operation));
  for (const [field, value] of Object.entries(operation) as [string, unknown][]) {
    if (bufferFields.has(field) && typeof value === 'number') touched.add(value);
  }
  return touched;
}

/** What a test fills a buffer with before the operation runs. */
export type Fill =
  | { readonly kind: 'normal'; readonly mean: number; readonly deviation: number }
  /** 0 … limit − 1. */
  | { readonly kind: 'integers'; readonly limit: number }
  /** Pairs of a mean and a variance, as group moments lie. */
  | { readonly kind: 'moments'; readonly mean: number };

const standard: Fill = { kind: 'normal', mean: 0, deviation: 1 };
/** Far enough from zero that a variance taken as E[x²] − E[x]² would show, and a mean that was not subtracted all the more. */
const offCentre: Fill = { kind: 'normal', mean: 2, deviation: 1 };
const scales: Fill = { kind: 'normal', mean: 1, deviation: 0.1 };

/** Every buffer that the operation reads. */
export function fillsOf(operation: ComputedOperation): ReadonlyMap<BufferId, Fill> {
  const fills = new Map<BufferId, Fill>();
  const fill = (at: View | MatrixView | BufferId | undefined, how: Fill): void => {
    if (at !== undefined) fills.set(typeof at === 'number' ? at : at.buffer, how);
  };
  const weights = (fanIn: number): Fill => ({ kind: 'normal', mean: 0, deviation: 1 / Math.sqrt(fanIn) });
  const source = ({ parts, shift }: NormSource): void => {
    for (const part of parts) fill(part, offCentre);
    fill(shift, standard);
  };
  switch (operation.kind) {
    case 'gemm':
      fill(operation.x, standard);
      fill(operation.weight, weights(operation.x.columns));
      fill(operation.bias, standard);
      if (operation.accumulate) fill(operation.y, standard);
      break;
    case 'gatedGemm':
      fill(operation.x, standard);
      fill(operation.weight, weights(operation.x.columns));
      fill(operation.bias, standard);
      break;
    case 'matmul':
      fill(operation.x, standard);
      fill(operation.w, standard);
      break;
    case 'softmax':
      // Scores that differ by some tens: few of a row's weights count, as in attention.
      fill(operation.x, { kind: 'normal', mean: 0, deviation: 4 });
      break;
    case 'conv':
      fill(operation.x, standard);
      fill(operation.weight, weights((operation.x.shape[1] ?? 1) * operation.kernel[0] * operation.kernel[1]));
      fill(operation.bias, standard);
      fill(operation.residual, standard);
      break;
    case 'attention':
      for (const view of [operation.q, operation.k, operation.v]) fill(view, standard);
      break;
    case 'groupMoments':
    case 'boundaryRows':
      source(operation.source);
      break;
    case 'groupNorm':
    case 'groupNormalize':
      source(operation.source);
      fill(operation.weight, scales);
      fill(operation.bias, standard);
      if (operation.kind === 'groupNormalize') {
        fill(operation.moments, { kind: 'moments', mean: 2 });
        fill(operation.rowMask, { kind: 'integers', limit: 2 });
      }
      break;
    case 'layerNorm':
      fill(operation.x, offCentre);
      fill(operation.weight, scales);
      fill(operation.bias, standard);
      break;
    case 'geglu':
    case 'upsample':
      fill(operation.x, standard);
      break;
    case 'pointwise':
      fill(operation.x, standard);
      fill(operation.b, standard);
      break;
    case 'embedding':
      fill(operation.table, standard);
      fill(operation.ids, { kind: 'integers', limit: operation.rows });
      break;
    case 'selectToken':
      fill(operation.x, standard);
      fill(operation.index, { kind: 'integers', limit: operation.x.shape[1] ?? 1 });
      break;
    case 'sinusoid':
      fill(operation.x, { kind: 'integers', limit: 1024 });
      break;
    default:
      operation satisfies never;
  }
  return fills;
}

/** A prime. */
export const period = 65_521;

/** One period of a buffer's values, as its type represents them. `seed` tells buffers of one operation apart. */
function valuesOf(fill: Fill, type: ElementType, half: HalfType, seed: number): Float32Array {
  const values = normalsOf(seed).map((normal, index) => {
    if (fill.kind === 'normal') return fill.mean + fill.deviation * normal;
    if (fill.kind === 'moments') return index % 2 === 0 ? fill.mean + 0.1 * normal : 1 + 0.2 * Math.abs(normal);
    return Math.floor(Math.abs(normal) * 1000) % fill.limit;
  });
  return type === 'half' ? fromHalf(toHalf(values, half), half) : values;
}

/** What every buffer that the operation reads holds before it runs, by index; anything else is NaN. */
export function contentsOf({ operation, buffers }: LoneOperation, half: HalfType): (buffer: BufferId, index: number) => number {
  // Looked up hundreds of millions of times: an array, with holes.
  const blocks: (Float32Array | undefined)[] = [];
  for (const [seed, [buffer, fill]] of [...fillsOf(operation)].entries()) {
    blocks[buffer] = valuesOf(fill, buffers.get(buffer)?.type ?? 'half', half, seed);
  }
  return (buffer, index) => blocks[buffer]?.[index % period] ?? Number.NaN;
}

const normals = new Map<number, Float32Array>();

function normalsOf(seed: number): Float32Array {
  const known = normals.get(seed) ?? new Generator(seed).randn([period]).data;
  normals.set(seed, known);
  return known;
}

/** One period as the device holds it. */
export function encode(values: Float32Array, type: ElementType, half: HalfType): Uint16Array | Float32Array | BigInt64Array {
  if (type === 'half') return toHalf(values, half);
  return type === 'f32' ? values : BigInt64Array.from(values, BigInt);
}

function toHalf(values: Float32Array, half: HalfType): Uint16Array {
  if (half === 'f16') return Uint16Array.from(values, numberToFloat16);
  return Uint16Array.from(new Uint32Array(values.buffer, values.byteOffset, values.length), (bits) => bits >>> 16);
}

export function fromHalf(bits: Uint16Array, half: HalfType): Float32Array {
  return half === 'f16' ? float16ToFloat32(bits) : bfloat16ToFloat32(bits);
}
