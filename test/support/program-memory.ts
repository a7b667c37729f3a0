/** The memory of a CUDA program on the host: where views lie, in what order they are gone through, what weights become. */
import type { Program, WeightForm } from '../../runtime/backends/cuda/plan/program.js';
import { elementBytes, memoryOrder, product, type MatrixView, type View } from '../../runtime/backends/cuda/plan/view.js';
import type { WeightsDirectory } from '../../runtime/weights/index.js';

/** Every 2 bytes of the device's memory are one float: an f32 takes two of them and uses the first. */
export class Memory {
  readonly #program: Program;
  readonly #arena: Float32Array;
  readonly #persistent: Float32Array;
  readonly #halves: readonly [Float32Array, Float32Array];
  readonly #others = new Map<number, Float32Array>();

  constructor(program: Program) {
    this.#program = program;
    this.#arena = new Float32Array(program.memory.arenaBytes / 2).fill(Number.NaN);
    // What displaced steps leave to each other is zero at first: rows beyond the image's edges stay so.
    const isDisplaced = program.displaced !== undefined;
    this.#persistent = new Float32Array(program.memory.persistentBytes / 2).fill(isDisplaced ? 0 : Number.NaN);
    const half = (): Float32Array => new Float32Array(program.memory.halfBytes / 2);
    this.#halves = [half(), half()];
  }

  define(buffer: number, values: Float32Array): void {
    this.#others.set(buffer, values);
  }

  /** The half that is read now; the other one is `next`. */
  half: 0 | 1 = 0;

  read(view: View | MatrixView, index: number): number {
    const [memory, at] = this.#place(view, index, this.half);
    return memory[at] ?? Number.NaN;
  }

  write(view: View | MatrixView, index: number, value: number): void {
    const [memory, at] = this.#place(view, index, this.half);
    memory[at] = value;
  }

  writeNext(view: View, index: number, value: number): void {
    const [memory, at] = this.#place(view, index, this.half === 0 ? 1 : 0);
    memory[at] = value;
  }

  /** For inner loops: element `index` of the view is `values[start + index · step]`. */
  locate(view: View | MatrixView): { readonly values: Float32Array; readonly start: number; readonly step: number } {
    const [values, start] = this.#place(view, 0, this.half);
    return { values, start, step: this.#place(view, 1, this.half)[1] - start };
  }

  /** Whole. */
  values(buffer: number): Float32Array {
    return this.#others.get(buffer) ?? new Float32Array();
  }

  buffer(buffer: number, index: number): number {
    return this.#others.get(buffer)?.[index] ?? Number.NaN;
  }

  #place({ buffer, offset, type }: View | MatrixView, index: number, half: 0 | 1): readonly [Float32Array, number] {
    const place = this.#program.memory.places.get(buffer);
    if (place === undefined) return [this.#others.get(buffer) ?? new Float32Array(), offset + index];
    const memory = { arena: this.#arena, persistent: this.#persistent, halved: this.#halves[half] }[place.block];
    return [memory, place.offset / 2 + ((offset + index) * elementBytes[type]) / 2];
  }
}

export function* indices(shape: readonly number[]): Generator<readonly number[]> {
  const count = product(shape);
  for (let flat = 0; flat < count; flat++) {
    let rest = flat;
    const index = shape.map(() => 0);
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = rest % (shape[axis] ?? 1);
      rest = Math.floor(rest / (shape[axis] ?? 1));
    }
    yield index;
  }
}

/** Channels of images last. */
export function* inMemoryOrder({ shape, type }: View): Generator<readonly number[]> {
  const order = memoryOrder(shape.length, type);
  for (const sorted of indices(order.map((axis) => shape[axis] ?? 1))) yield shape.map((_, axis) => sorted[order.indexOf(axis)] ?? 0);
}

export function dot(index: readonly number[], strides: readonly number[]): number {
  return index.reduce((sum, value, axis) => sum + value * (strides[axis] ?? 0), 0);
}

/** What the device's conversion makes of stored tensors, in float32. */
export async function deviceForm(weight: WeightForm, weights: WeightsDirectory): Promise<Float32Array> {
  const tensors = await Promise.all(weight.keys.map(async (key) => (await weights.readFloat32(key)).data));
  if (weight.form !== 'kernel') {
    const all = new Float32Array(weight.form === 'vector' ? weight.padded : product(weight.shape));
    let at = 0;
    for (const tensor of tensors) {
      all.set(tensor, at);
      at += tensor.length;
    }
    return all;
  }
  const { inputs, height, width, paddedInputs, paddedOut, outs } = weight;
  const spatial = height * width;
  const all = new Float32Array(paddedOut * spatial * paddedInputs);
  let start = 0;
  tensors.forEach((tensor, index) => {
    tensor.forEach((value, flat) => {
      const [position, rest] = [flat % spatial, Math.floor(flat / spatial)];
      const [input, out] = [rest % inputs, Math.floor(rest / inputs)];
      all[((start + out) * spatial + position) * paddedInputs + input] = value;
    });
    start += outs[index] ?? 0;
  });
  return all;
}
