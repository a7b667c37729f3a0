/**
 * Runs a CUDA program's operations on the host in float32, one plain loop each, in the memory the plan gives them: what fusion, views,
 * lifetimes and stages claim is checked without a device. Half-type elements are floats here, so that nothing but order of summation
 * differs from the graph.
 */
import { stages, type NormSource, type Operation, type OperationOf } from '../../runtime/backends/cuda/plan/operations.js';
import type { Program, StepForm } from '../../runtime/backends/cuda/plan/program.js';
import { product, type MatrixView, type View } from '../../runtime/backends/cuda/plan/view.js';
import { joinMoments } from '../../runtime/engine/index.js';
import { float32, type Tensor } from '../../runtime/tensor/index.js';
import type { WeightsDirectory } from '../../runtime/weights/index.js';
import { deviceForm, dot, indices, inMemoryOrder, Memory } from './program-memory.js';

/** From this rank's payloads to what each payload's `to` then holds. */
export type Exchange = (
  operation: Pick<OperationOf<'collective'>, 'group' | 'payloads'>,
  payloads: readonly Float32Array[],
) => Promise<readonly Float32Array[]>;

/** When what is sent ahead is read and has arrived: a device may do both at any time until the step ends. */
export type Arrival = 'at once' | 'late';

export class ProgramInterpreter {
  readonly #program: Program;
  readonly #memory: Memory;
  readonly #exchange: Exchange;
  readonly #arrival: Arrival;
  /** What was sent ahead and has not arrived. */
  readonly #underWay: OperationOf<'sendAhead'>[] = [];

  private constructor(program: Program, exchange: Exchange, arrival: Arrival) {
    this.#program = program;
    this.#memory = new Memory(program);
    this.#exchange = exchange;
    this.#arrival = arrival;
  }

  static async open(
    program: Program,
    weights: WeightsDirectory,
    exchange: Exchange,
    arrival: Arrival = 'at once',
  ): Promise<ProgramInterpreter> {
    const interpreter = new ProgramInterpreter(program, exchange, arrival);
    for (const [buffer, { weight }] of program.buffers.entries()) {
      if (weight !== undefined) interpreter.#memory.define(buffer, await deviceForm(weight, weights));
    }
    return interpreter;
  }

  async run(inputs: Readonly<Record<string, Tensor>>, step: StepForm = 'synchronous'): Promise<Readonly<Record<string, Tensor<'f32'>>>> {
    this.#memory.half = step === 'synchronous' ? 0 : step;
    for (const { name, view, shape } of this.#program.inputs) {
      const data = inputs[name]?.data;
      if (data === undefined) throw new Error(`no input ${name}`);
      this.#memory.define(view.buffer, new Float32Array(product(view.shape)));
      let flat = 0;
      for (const index of indices(shape)) this.#memory.write(view, dot(index, view.strides), Number(data[flat++]));
    }
    for (const stage of stages) {
      const ofStep = step === 'synchronous' ? this.#program.operations.step : this.#program.displaced;
      for (const operation of (stage === 'step' ? ofStep : this.#program.operations[stage]) ?? []) await this.#execute(operation);
    }
    for (const operation of this.#underWay.splice(0)) await this.#deliver(operation);
    return Object.fromEntries(
      this.#program.outputs.map(({ name, view, shape }) => {
        const values = [...indices(shape)].map((index) => this.#memory.read(view, dot(index, view.strides)));
        return [name, float32(shape, Float32Array.from(values))];
      }),
    );
  }

  async #execute(operation: Operation): Promise<void> {
    switch (operation.kind) {
      case 'gemm':
        this.#gemm(operation);
        return;
      case 'gatedGemm': {
        const { projection, y } = operation;
        this.#gemm({ ...operation, kind: 'gemm', weightOffset: 0, accumulate: false, y: projection });
        await this.#execute({ kind: 'geglu', name: operation.name, x: projection, y });
        return;
      }
      case 'matmul':
        this.#rows(operation.y, (row, column) => {
          const { x, w, factor } = operation;
          let sum = 0;
          for (let k = 0; k < x.columns; k++) sum += this.#memory.read(x, row * x.stride + k) * this.#memory.read(w, column * w.stride + k);
          return factor * sum;
        });
        return;
      case 'softmax':
        this.#softmax(operation);
        return;
      case 'conv':
        this.#conv(operation);
        return;
      case 'attention':
        this.#attention(operation);
        return;
      case 'groupNorm': {
        const moments = this.#moments(operation.source, operation.groups);
        this.#normalize(operation, (batch, group) => moments[batch]?.[group] ?? [0, 1]);
        return;
      }
      case 'groupMoments':
        this.#moments(operation.source, operation.groups).forEach((groups, batch) => {
          groups.forEach(([mean, variance], group) => {
            this.#memory.write(operation.y, (batch * operation.groups + group) * 2, mean);
            this.#memory.write(operation.y, (batch * operation.groups + group) * 2 + 1, variance);
          });
        });
        return;
      case 'groupNormalize':
        this.#normalize(operation, (batch, group) => this.#merged(operation, batch, group));
        return;
      case 'boundaryRows': {
        const height = operation.source.parts[0]?.shape[2] ?? 0;
        for (const index of indices(operation.y.shape)) {
          const [side = 0, batch = 0, channel = 0, row = 0, column = 0] = index;
          const from = side === 0 ? row : height - operation.rows + row;
          this.#memory.write(operation.y, dot(index, operation.y.strides), this.#pixel(operation.source, batch, channel, from, column));
        }
        return;
      }
      case 'layerNorm':
        this.#layerNorm(operation);
        return;
      case 'geglu':
        this.#rows(operation.y, (row, column) => {
          const { x, y } = operation;
          const gate = this.#memory.read(x, row * x.stride + y.columns + column);
          return this.#memory.read(x, row * x.stride + column) * gelu(gate);
        });
        return;
      case 'pointwise':
        this.#pointwise(operation);
        return;
      case 'upsample':
        for (const index of indices(operation.y.shape)) {
          const from = index.map((value, axis) => (axis < 2 ? value : Math.floor(value / operation.factor)));
          this.#memory.write(operation.y, dot(index, operation.y.strides), this.#memory.read(operation.x, dot(from, operation.x.strides)));
        }
        return;
      case 'embedding':
        this.#rows(operation.y, (row, column) =>
          this.#memory.buffer(operation.table, this.#memory.read(operation.ids, row) * operation.width + column),
        );
        return;
      case 'selectToken': {
        const [perBatch = 0, token = 0] = operation.x.strides;
        this.#rows(operation.y, (row, column) =>
          this.#memory.read(operation.x, row * perBatch + this.#memory.read(operation.index, row) * token + column),
        );
        return;
      }
      case 'sinusoid': {
        const half = operation.y.columns / 2;
        this.#rows(operation.y, (row, column) => {
          const index = column % half;
          const angle = this.#memory.read(operation.x, row) * Math.exp((-Math.log(operation.maxPeriod) * index) / (half - operation.shift));
          return column < half === operation.flipSinToCos ? Math.cos(angle) : Math.sin(angle);
        });
        return;
      }
      case 'collective': {
        const payloads = operation.payloads.map(({ from }) => this.#dense(from));
        const results = await this.#exchange(operation, payloads);
        operation.payloads.forEach(({ to }, index) => {
          for (let at = 0; at < product(to.shape); at++) this.#memory.write(to, at, results[index]?.[at] ?? Number.NaN);
        });
        return;
      }
      case 'sendAhead':
        if (this.#arrival === 'late') this.#underWay.push(operation);
        else await this.#deliver(operation);
        return;
      case 'joinMoments':
        this.#joinMoments(operation);
        return;
      default:
        operation satisfies never;
    }
  }

  /** The peers' parts, into the other half. */
  async #deliver({ payloads, position }: OperationOf<'sendAhead'>): Promise<void> {
    const given = payloads.map(({ from }) =>
      Float32Array.from(inMemoryOrder(from), (index) => this.#memory.read(from, dot(index, from.strides))),
    );
    const results = await this.#exchange({ group: 'patch', payloads }, given);
    payloads.forEach(({ payload, from, to }, at) => {
      const axis = payload.kind === 'neighbors' ? undefined : payload.kind === 'moments' ? 0 : payload.axis;
      const size = axis === undefined ? 1 : (from.shape[axis] ?? 1);
      let flat = 0;
      for (const index of inMemoryOrder(to)) {
        const value = results[at]?.[flat++] ?? Number.NaN;
        const isOwn = axis !== undefined && Math.floor((index[axis] ?? 0) / size) === position;
        if (!isOwn) this.#memory.writeNext(to, dot(index, to.strides), value);
      }
    });
  }

  #joinMoments({ own, held, ranks, position, rule, y }: OperationOf<'joinMoments'>): void {
    const count = product(own.shape);
    const place = (index: number): number => position * count + index;
    const previous = Float32Array.from({ length: count }, (_, index) => this.#memory.read(held, place(index)));
    for (let index = 0; index < count; index++) {
      const value = this.#memory.read(own, index);
      this.#memory.write(held, place(index), value);
      this.#memory.writeNext(held, place(index), value);
    }
    const all = Float32Array.from({ length: ranks * count }, (_, index) => this.#memory.read(held, index));
    joinMoments(all, previous, { ranks, position }, rule);
    for (let index = 0; index < count; index += 2) {
      const parts = Array.from(
        { length: ranks },
        (_, rank) => [all[rank * count + index] ?? 0, all[rank * count + index + 1] ?? 0] as const,
      );
      const mean = parts.reduce((sum, [value]) => sum + value, 0) / ranks;
      this.#memory.write(y, index, mean);
      this.#memory.write(y, index + 1, parts.reduce((sum, [value, variance]) => sum + variance + (value - mean) ** 2, 0) / ranks);
    }
  }

  #dense(view: View): Float32Array {
    return Float32Array.from({ length: product(view.shape) }, (_, at) => this.#memory.read(view, at));
  }

  #rows(y: MatrixView, value: (row: number, column: number) => number): void {
    for (let row = 0; row < y.rows; row++) {
      for (let column = 0; column < y.columns; column++) this.#memory.write(y, row * y.stride + column, value(row, column));
    }
  }

  #gemm({ x, y, weight, weightOffset, weightStride, bias, accumulate }: OperationOf<'gemm'>): void {
    const { values, start, step } = this.#memory.locate(x);
    const weights = this.#memory.values(weight);
    this.#rows(y, (row, column) => {
      let sum = accumulate ? this.#memory.read(y, row * y.stride + column) : 0;
      if (bias !== undefined) sum += this.#memory.buffer(bias, column);
      const [from, by] = [start + row * x.stride * step, weightOffset + column * weightStride];
      for (let k = 0; k < x.columns; k++) sum += (values[from + k * step] ?? Number.NaN) * (weights[by + k] ?? Number.NaN);
      return sum;
    });
  }

  #softmax({ x, y, factor }: OperationOf<'softmax'>): void {
    for (let row = 0; row < x.rows; row++) {
      const scores = Array.from({ length: x.columns }, (_, column) => this.#memory.read(x, row * x.stride + column));
      const largest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - largest));
      const total = weights.reduce((sum, value) => sum + value, 0);
      weights.forEach((value, column) => {
        this.#memory.write(y, row * y.stride + column, (factor * value) / total);
      });
    }
  }

  #conv({ x, y, weight, bias, residual, kernel, stride, padding }: OperationOf<'conv'>): void {
    const [, inputs = 0, height = 0, width = 0] = x.shape;
    const [kernelHeight, kernelWidth] = kernel;
    const { values, start, step } = this.#memory.locate(x);
    const channelStep = (x.strides[1] ?? 0) * step;
    const weights = this.#memory.values(weight);
    for (const index of indices(y.shape)) {
      const [batch = 0, out = 0, row = 0, column = 0] = index;
      const at = dot(index, y.strides);
      let sum = bias === undefined ? 0 : this.#memory.buffer(bias, out);
      if (residual !== undefined) sum += this.#memory.read(residual, dot(index, residual.strides));
      for (let dy = 0; dy < kernelHeight; dy++) {
        for (let dx = 0; dx < kernelWidth; dx++) {
          const [fromRow, fromColumn] = [row * stride - padding.top + dy, column * stride - padding.left + dx];
          if (fromRow < 0 || fromRow >= height || fromColumn < 0 || fromColumn >= width) continue;
          const from = start + dot([batch, 0, fromRow, fromColumn], x.strides) * step;
          const by = ((out * kernelHeight + dy) * kernelWidth + dx) * inputs;
          for (let channel = 0; channel < inputs; channel++) {
            sum += (values[from + channel * channelStep] ?? Number.NaN) * (weights[by + channel] ?? Number.NaN);
          }
        }
      }
      this.#memory.write(y, at, sum);
    }
  }

  #attention({ q, k, v, y, heads, scale, causal }: OperationOf<'attention'>): void {
    const [batch = 1, tokens = 1, channels = 1] = q.shape;
    const keys = k.shape[1] ?? 1;
    const dim = channels / heads;
    const reader = (view: View): ((image: number, token: number, channel: number) => number) => {
      const { values, start, step } = this.#memory.locate(view);
      const [perImage = 0, perToken = 0, perChannel = 0] = view.strides.map((stride) => stride * step);
      return (image, token, channel) => values[start + image * perImage + token * perToken + channel * perChannel] ?? Number.NaN;
    };
    const [queries, known, summed] = [reader(q), reader(k), reader(v)];
    for (let image = 0; image < batch; image++) {
      for (let head = 0; head < heads; head++) {
        for (let token = 0; token < tokens; token++) {
          const scores = Array.from({ length: causal ? token + 1 : keys }, (_, key) => {
            let sum = 0;
            for (let c = head * dim; c < (head + 1) * dim; c++) sum += queries(image, token, c) * known(image, key, c);
            return sum * scale;
          });
          const largest = Math.max(...scores);
          const weights = scores.map((score) => Math.exp(score - largest));
          const total = weights.reduce((sum, value) => sum + value, 0);
          for (let c = head * dim; c < (head + 1) * dim; c++) {
            const sum = weights.reduce((part, value, key) => part + value * summed(image, key, c), 0);
            this.#memory.write(y, dot([image, token, c], y.strides), sum / total);
          }
        }
      }
    }
  }

  #pixel({ parts, shift }: NormSource, batch: number, channel: number, row: number, column: number): number {
    const added = shift === undefined ? 0 : this.#memory.read(shift, dot([batch, channel], shift.strides));
    let left = channel;
    for (const part of parts) {
      const channels = part.shape[1] ?? 0;
      if (left < channels) return added + this.#memory.read(part, dot([batch, left, row, column], part.strides));
      left -= channels;
    }
    throw new Error(`no channel ${String(channel)}`);
  }

  #moments(source: NormSource, groups: number): readonly (readonly (readonly [number, number])[])[] {
    const [batch = 1, , height = 1, width = 1] = source.parts[0]?.shape ?? [];
    const channels = source.parts.reduce((sum, { shape }) => sum + (shape[1] ?? 0), 0);
    const perGroup = channels / groups;
    return Array.from({ length: batch }, (_, image) =>
      Array.from({ length: groups }, (__, group) => {
        const values = [...indices([perGroup, height, width])].map(([c = 0, row = 0, column = 0]) =>
          this.#pixel(source, image, group * perGroup + c, row, column),
        );
        const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
        return [mean, values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length] as const;
      }),
    );
  }

  #merged({ moments, ranks }: OperationOf<'groupNormalize'>, batch: number, group: number): readonly [number, number] {
    const parts = Array.from({ length: ranks }, (_, rank) =>
      [0, 1].map((which) => this.#memory.read(moments, dot([rank, batch, group, which], moments.strides))),
    );
    const mean = parts.reduce((sum, [value = 0]) => sum + value, 0) / ranks;
    return [mean, parts.reduce((sum, [value = 0, variance = 0]) => sum + variance + (value - mean) ** 2, 0) / ranks];
  }

  #normalize(
    operation: OperationOf<'groupNorm'> | OperationOf<'groupNormalize'>,
    momentsOf: (batch: number, group: number) => readonly [number, number],
  ): void {
    const { source, groups, weight, bias, epsilon, silu, y } = operation;
    const perGroup = (y.shape[1] ?? 0) / groups;
    const results = [...indices(y.shape)].map((index): readonly [number, number] => {
      const [batch = 0, channel = 0, row = 0, column = 0] = index;
      const [mean, variance] = momentsOf(batch, Math.floor(channel / perGroup));
      let value = (this.#pixel(source, batch, channel, row, column) - mean) / Math.sqrt(variance + epsilon);
      value = value * this.#memory.buffer(weight, channel) + this.#memory.buffer(bias, channel);
      if (silu) value /= 1 + Math.exp(-value);
      const mask = operation.kind === 'groupNormalize' ? operation.rowMask : undefined;
      if (mask !== undefined) value *= this.#memory.read(mask, row * (mask.strides[2] ?? 0));
      return [dot(index, y.strides), value];
    });
    for (const [at, value] of results) this.#memory.write(y, at, value);
  }

  #layerNorm({ x, y, weight, bias, epsilon }: OperationOf<'layerNorm'>): void {
    for (let row = 0; row < x.rows; row++) {
      const values = Array.from({ length: x.columns }, (_, column) => this.#memory.read(x, row * x.stride + column));
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
      values.forEach((value, column) => {
        const normal = (value - mean) / Math.sqrt(variance + epsilon);
        this.#memory.write(y, row * y.stride + column, normal * this.#memory.buffer(weight, column) + this.#memory.buffer(bias, column));
      });
    }
  }

  #pointwise({ function: name, x, b, y, factor = 1, offset = 0 }: OperationOf<'pointwise'>): void {
    for (const index of indices(y.shape)) {
      const value = this.#memory.read(x, dot(index, x.strides));
      const operand = b === undefined ? 0 : this.#memory.read(b, dot(index, b.strides));
      const result = {
        copy: () => value,
        add: () => value + operand,
        mul: () => value * operand,
        affine: () => value * factor + offset,
        silu: () => value / (1 + Math.exp(-value)),
        gelu: () => gelu(value),
        quickGelu: () => value / (1 + Math.exp(-1.702 * value)),
      }[name]();
      this.#memory.write(y, dot(index, y.strides), result);
    }
  }
}

function gelu(x: number): number {
  return 0.5 * x * (1 + erf(x / Math.SQRT2));
}

/** Abramowitz and Stegun 7.1.26 has 1.5e-7 absolute error: below what float32 keeps here. */
function erf(x: number): number {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const polynomial = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - polynomial * Math.exp(-x * x));
}
