/** The weights a program reads, each form of each tensor once, as buffers among the program's others. */
import type { Graph, ValueId } from '../../../graph/index.js';
import type { BufferSpec, WeightForm } from './program.js';
import { product, type BufferId, type ElementType } from './view.js';

/** Channels of images are padded to a multiple of this: 16 bytes, what tensor cores load at once. */
export const channelUnit = 8;

export function padded(channels: number): number {
  return Math.ceil(channels / channelUnit) * channelUnit;
}

export class PlannedWeights {
  readonly #graph: Graph;
  /** The program's, to which weights are added. */
  readonly #buffers: BufferSpec[];
  readonly #known = new Map<string, BufferId>();
  readonly #keys: ReadonlyMap<ValueId, string>;

  constructor(graph: Graph, buffers: BufferSpec[]) {
    this.#graph = graph;
    this.#buffers = buffers;
    this.#keys = new Map(graph.weights.map(({ key, value }) => [value, key]));
  }

  has(value: ValueId): boolean {
    return this.#keys.has(value);
  }

  shapeOf(value: ValueId): readonly number[] {
    const weight = this.#graph.weights.find((candidate) => candidate.value === value);
    if (weight === undefined) throw new Error(`%${String(value)} of ${this.#graph.name} is no weight`);
    return weight.shape;
  }

  /** Of products and convolutions: the tensors stacked along their outputs. */
  kernel(values: readonly ValueId[]): {
    readonly buffer: BufferId;
    readonly inputs: number;
    readonly height: number;
    readonly width: number;
  } {
    const shapes = values.map((value) => this.shapeOf(value));
    const outs = shapes.map(([out = 0]) => out);
    const [, inputs = 0, height = 1, width = 1] = shapes[0] ?? [];
    const axes = shapes[0]?.length === 4 ? 4 : 2;
    const total = outs.reduce((sum, out) => sum + out, 0);
    const [paddedOut, paddedInputs] = axes === 4 ? [padded(total), padded(inputs)] : [total, inputs];
    const keys = values.map((value) => this.#keyOf(value));
    const buffer = this.#buffer({ form: 'kernel', keys, outs, inputs, height, width, axes, paddedOut, paddedInputs }, 'half');
    return { buffer, inputs: paddedInputs, height, width };
  }

  /** Tensors end to end. */
  vector(values: readonly ValueId[], type: 'half' | 'f32'): BufferId {
    const sizes = values.map((value) => product(this.shapeOf(value)));
    const total = sizes.reduce((sum, size) => sum + size, 0);
    return this.#buffer({ form: 'vector', keys: values.map((value) => this.#keyOf(value)), sizes, padded: padded(total) }, type);
  }

  /** As stored. */
  table(value: ValueId): BufferId {
    return this.#buffer({ form: 'table', keys: [this.#keyOf(value)], shape: this.shapeOf(value) }, 'half');
  }

  #buffer(weight: WeightForm, type: ElementType): BufferId {
    const key = [weight.form, type, ...weight.keys].join();
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const elements =
      weight.form === 'kernel'
        ? weight.paddedOut * weight.paddedInputs * weight.height * weight.width
        : weight.form === 'vector'
          ? weight.padded
          : product(weight.shape);
    const buffer = this.#buffers.length;
    this.#buffers.push({ type, elements, role: 'weight', weight });
    this.#known.set(key, buffer);
    return buffer;
  }

  #keyOf(value: ValueId): string {
    const key = this.#keys.get(value);
    if (key === undefined) throw new Error(`%${String(value)} of ${this.#graph.name} is no weight`);
    return key;
  }
}
