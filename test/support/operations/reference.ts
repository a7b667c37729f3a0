/**
 * What an operation should write, element by element in float64, straight from its definition: a second, slow implementation that
 * shares nothing with the kernels. Only elements that are asked for are computed.
 */
import type { NormSource, OperationOf } from '../../../runtime/backends/cuda/plan/operations.js';
import { product, type BufferId, type MatrixView, type View } from '../../../runtime/backends/cuda/plan/view.js';
import type { ComputedOperation } from './lone-operation.js';

/** An element of a buffer before the operation runs, by its index. */
export type Contents = (buffer: BufferId, index: number) => number;

export interface Reference {
  /** Elements written. */
  readonly count: number;
  readonly y: View | MatrixView;
  /** Where in y's buffer an element lies. */
  readonly place: (element: number) => number;
  readonly value: (element: number) => number;
  /** Some elements, the first and the last among them, chosen so that computing them shares work. */
  readonly samples: (count: number) => readonly number[];
}

export function referenceOf(operation: ComputedOperation, contents: Contents): Reference {
  const { y } = operation;
  const isMatrix = 'rows' in y;
  const shape = isMatrix ? [y.rows, y.columns] : y.shape;
  const strides = isMatrix ? [y.stride, 1] : y.strides;
  const count = product(shape);
  const value = valueOf(operation, contents);
  return {
    count,
    y,
    place: (element) => y.offset + dot(unravel(element, shape), strides),
    value: (element) => value(unravel(element, shape)),
    samples: (wanted) => samples(operation, shape, wanted),
  };
}

type ElementValue = (index: readonly number[]) => number;

function valueOf(operation: ComputedOperation, contents: Contents): ElementValue {
  switch (operation.kind) {
    case 'gemm':
      return gemm(operation, contents);
    case 'gatedGemm': {
      const { projection, y } = operation;
      const project = gemm({ ...operation, kind: 'gemm', weightOffset: 0, accumulate: false, y: projection }, contents);
      return ([row = 0, column = 0]) => project([row, column]) * gelu(project([row, y.columns + column]));
    }
    case 'matmul':
      return matmul(operation, contents);
    case 'softmax':
      return softmaxOf(operation, contents);
    case 'conv':
      return convolution(operation, contents);
    case 'attention':
      return attention(operation, contents);
    case 'groupNorm': {
      const { pixel, moments } = normSource(operation.source, operation.groups, contents);
      return normalized(operation, contents, pixel, moments, () => 1);
    }
    case 'groupMoments': {
      const { moments } = normSource(operation.source, operation.groups, contents);
      return ([, batch = 0, group = 0, which = 0]) => moments(batch, group)[which] ?? Number.NaN;
    }
    case 'groupNormalize': {
      const { pixel } = normSource(operation.source, operation.groups, contents);
      const { moments, ranks, rowMask } = operation;
      const merged = (batch: number, group: number): readonly [number, number] => {
        const parts = Array.from({ length: ranks }, (_, rank) =>
          [0, 1].map((which) => contents(moments.buffer, moments.offset + dot([rank, batch, group, which], moments.strides))),
        );
        const mean = parts.reduce((sum, [part = 0]) => sum + part, 0) / ranks;
        return [mean, parts.reduce((sum, [part = 0, variance = 0]) => sum + variance + (part - mean) ** 2, 0) / ranks];
      };
      const mask = (row: number): number =>
        rowMask === undefined ? 1 : contents(rowMask.buffer, rowMask.offset + row * (rowMask.strides[2] ?? 0));
      return normalized(operation, contents, pixel, merged, mask);
    }
    case 'boundaryRows': {
      const { source, rows } = operation;
      const height = source.parts[0]?.shape[2] ?? 0;
      const { pixel } = normSource(source, 1, contents);
      return ([side = 0, batch = 0, channel = 0, row = 0, column = 0]) =>
        pixel(batch, channel, side === 0 ? row : height - rows + row, column);
    }
    case 'layerNorm': {
      const { x, weight, bias, epsilon } = operation;
      const rowOf = remembered((row) => {
        const values = Array.from({ length: x.columns }, (_, column) => contents(x.buffer, x.offset + row * x.stride + column));
        return { values, ...meanAndVariance(values) };
      });
      return ([row = 0, column = 0]) => {
        const { values, mean, variance } = rowOf(row);
        return (((values[column] ?? 0) - mean) / Math.sqrt(variance + epsilon)) * contents(weight, column) + contents(bias, column);
      };
    }
    case 'geglu': {
      const { x, y } = operation;
      return ([row = 0, column = 0]) => {
        const at = x.offset + row * x.stride + column;
        return contents(x.buffer, at) * gelu(contents(x.buffer, at + y.columns));
      };
    }
    case 'pointwise':
      return pointwise(operation, contents);
    case 'upsample': {
      const { x, factor } = operation;
      return (index) =>
        contents(
          x.buffer,
          x.offset +
            dot(
              index.map((at, axis) => (axis < 2 ? at : Math.floor(at / factor))),
              x.strides,
            ),
        );
    }
    case 'embedding': {
      const { table, ids, width } = operation;
      return ([row = 0, column = 0]) => contents(table, contents(ids.buffer, ids.offset + row) * width + column);
    }
    case 'selectToken': {
      const { x, index } = operation;
      const [perBatch = 0, token = 0] = x.strides;
      return ([row = 0, column = 0]) =>
        contents(x.buffer, x.offset + row * perBatch + contents(index.buffer, index.offset + row) * token + column);
    }
    case 'sinusoid': {
      const { x, y, flipSinToCos, shift, maxPeriod } = operation;
      const half = y.columns / 2;
      return ([row = 0, column = 0]) => {
        const frequency = Math.exp((-Math.log(maxPeriod) * (column % half)) / (half - shift));
        const angle = contents(x.buffer, x.offset + row) * frequency;
        return column < half === flipSinToCos ? Math.cos(angle) : Math.sin(angle);
      };
    }
    default:
      return operation satisfies never;
  }
}

function gemm({ x, y, weight, weightOffset, weightStride, bias, accumulate }: OperationOf<'gemm'>, contents: Contents): ElementValue {
  return ([row = 0, column = 0]) => {
    let sum = bias === undefined ? 0 : contents(bias, column);
    if (accumulate) sum += contents(y.buffer, y.offset + row * y.stride + column);
    const [from, by] = [x.offset + row * x.stride, weightOffset + column * weightStride];
    for (let k = 0; k < x.columns; k++) sum += contents(x.buffer, from + k) * contents(weight, by + k);
    return sum;
  };
}

function matmul({ x, w, factor }: OperationOf<'matmul'>, contents: Contents): ElementValue {
  return ([row = 0, column = 0]) => {
    const [from, by] = [x.offset + row * x.stride, w.offset + column * w.stride];
    let sum = 0;
    for (let k = 0; k < x.columns; k++) sum += contents(x.buffer, from + k) * contents(w.buffer, by + k);
    return factor * sum;
  };
}

function softmaxOf({ x, factor }: OperationOf<'softmax'>, contents: Contents): ElementValue {
  const score = (row: number, column: number): number => contents(x.buffer, x.offset + row * x.stride + column);
  const rows = remembered((row) => {
    let largest = -Infinity;
    for (let column = 0; column < x.columns; column++) largest = Math.max(largest, score(row, column));
    let total = 0;
    for (let column = 0; column < x.columns; column++) total += Math.exp(score(row, column) - largest);
    return [largest, total];
  });
  return ([row = 0, column = 0]) => {
    const [largest = 0, total = 1] = rows(row);
    return (factor * Math.exp(score(row, column) - largest)) / total;
  };
}

function convolution({ x, weight, bias, residual, kernel, stride, padding }: OperationOf<'conv'>, contents: Contents): ElementValue {
  const [, inputs = 0, height = 0, width = 0] = x.shape;
  const [perBatch = 0, perChannel = 0, perRow = 0, perColumn = 0] = x.strides;
  const [kernelHeight, kernelWidth] = kernel;
  return (index) => {
    const [batch = 0, out = 0, row = 0, column = 0] = index;
    let sum = bias === undefined ? 0 : contents(bias, out);
    if (residual !== undefined) sum += contents(residual.buffer, residual.offset + dot(index, residual.strides));
    for (let dy = 0; dy < kernelHeight; dy++) {
      for (let dx = 0; dx < kernelWidth; dx++) {
        const [fromRow, fromColumn] = [row * stride - padding.top + dy, column * stride - padding.left + dx];
        if (fromRow < 0 || fromRow >= height || fromColumn < 0 || fromColumn >= width) continue;
        const from = x.offset + batch * perBatch + fromRow * perRow + fromColumn * perColumn;
        const by = ((out * kernelHeight + dy) * kernelWidth + dx) * inputs;
        for (let channel = 0; channel < inputs; channel++)
          sum += contents(x.buffer, from + channel * perChannel) * contents(weight, by + channel);
      }
    }
    return sum;
  };
}

function attention({ q, k, v, heads, scale, causal }: OperationOf<'attention'>, contents: Contents): ElementValue {
  const tokens = q.shape[1] ?? 1;
  const dim = (q.shape[2] ?? 1) / heads;
  const keys = k.shape[1] ?? 1;
  const at = (view: View, image: number, token: number): number =>
    view.offset + image * (view.strides[0] ?? 0) + token * (view.strides[1] ?? 0);
  const softmax = remembered((which) => {
    const [image, token, head] = [Math.floor(which / heads / tokens), Math.floor(which / heads) % tokens, which % heads];
    const from = at(q, image, token) + head * dim;
    const scores = Array.from({ length: causal ? token + 1 : keys }, (_, key) => {
      const to = at(k, image, key) + head * dim;
      let sum = 0;
      for (let channel = 0; channel < dim; channel++) sum += contents(q.buffer, from + channel) * contents(k.buffer, to + channel);
      return sum * scale;
    });
    const largest = scores.reduce((most, score) => Math.max(most, score), -Infinity);
    const weights = scores.map((score) => Math.exp(score - largest));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    return weights.map((weight) => weight / total);
  });
  return ([image = 0, token = 0, channel = 0]) => {
    const weights = softmax((image * tokens + token) * heads + Math.floor(channel / dim));
    return weights.reduce((sum, weight, key) => sum + weight * contents(v.buffer, at(v, image, key) + channel), 0);
  };
}

type Moments = (batch: number, group: number) => readonly [mean: number, variance: number];
type Pixel = (batch: number, channel: number, row: number, column: number) => number;

function normSource(
  { parts, shift }: NormSource,
  groups: number,
  contents: Contents,
): { readonly pixel: Pixel; readonly moments: Moments } {
  const [, , height = 1, width = 1] = parts[0]?.shape ?? [];
  const channels = parts.reduce((sum, { shape }) => sum + (shape[1] ?? 0), 0);
  const perGroup = channels / groups;
  /** Of one channel, by row and column. */
  const plane = (batch: number, channel: number): ((row: number, column: number) => number) => {
    const added = shift === undefined ? 0 : contents(shift.buffer, shift.offset + dot([batch, channel], shift.strides));
    let left = channel;
    for (const part of parts) {
      const size = part.shape[1] ?? 0;
      const [perBatch = 0, perChannel = 0, perRow = 0, perColumn = 0] = part.strides;
      if (left < size) {
        const from = part.offset + batch * perBatch + left * perChannel;
        return (row, column) => added + contents(part.buffer, from + row * perRow + column * perColumn);
      }
      left -= size;
    }
    throw new Error(`no channel ${String(channel)}`);
  };
  const momentsOf = remembered((which): readonly [number, number] => {
    const [batch, group] = [Math.floor(which / groups), which % groups];
    const planes = Array.from({ length: perGroup }, (_, channel) => plane(batch, group * perGroup + channel));
    const count = perGroup * height * width;
    let [sum, square] = [0, 0];
    for (const at of planes) {
      for (let row = 0; row < height; row++) {
        for (let column = 0; column < width; column++) {
          const value = at(row, column);
          sum += value;
          square += value * value;
        }
      }
    }
    // In float64 the difference of squares keeps ten digits of values whose mean is twice their deviation.
    return [sum / count, square / count - (sum / count) ** 2];
  });
  return {
    pixel: (batch, channel, row, column) => plane(batch, channel)(row, column),
    moments: (batch, group) => momentsOf(batch * groups + group),
  };
}

function normalized(
  { groups, weight, bias, epsilon, silu, y }: OperationOf<'groupNorm'> | OperationOf<'groupNormalize'>,
  contents: Contents,
  pixel: Pixel,
  moments: Moments,
  mask: (row: number) => number,
): ElementValue {
  const perGroup = (y.shape[1] ?? 0) / groups;
  return ([batch = 0, channel = 0, row = 0, column = 0]) => {
    const [mean, variance] = moments(batch, Math.floor(channel / perGroup));
    const normal = ((pixel(batch, channel, row, column) - mean) / Math.sqrt(variance + epsilon)) * contents(weight, channel);
    const shifted = normal + contents(bias, channel);
    return mask(row) * (silu ? shifted / (1 + Math.exp(-shifted)) : shifted);
  };
}

function pointwise({ function: name, x, b, factor = 1, offset = 0 }: OperationOf<'pointwise'>, contents: Contents): ElementValue {
  return (index) => {
    const value = contents(x.buffer, x.offset + dot(index, x.strides));
    const other = b === undefined ? 0 : contents(b.buffer, b.offset + dot(index, b.strides));
    switch (name) {
      case 'copy':
        return value;
      case 'add':
        return value + other;
      case 'mul':
        return value * other;
      case 'affine':
        return value * factor + offset;
      case 'silu':
        return value / (1 + Math.exp(-value));
      case 'gelu':
        return gelu(value);
      case 'quickGelu':
        return value / (1 + Math.exp(-1.702 * value));
      default:
        return name satisfies never;
    }
  };
}

/** x·Φ(x). */
function gelu(x: number): number {
  return 0.5 * x * erfc(-x / Math.SQRT2);
}

/**
 * The error function from its Taylor series below 3, its complement from the continued fraction beyond (Abramowitz and Stegun 7.1.5,
 * 7.1.14): to about 1e-12, where the kernels' own formula is good to 1e-7.
 */
function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  if (x < 3) {
    let [term, sum] = [x, x];
    for (let n = 1; n < 60; n++) {
      term *= (-x * x) / n;
      sum += term / (2 * n + 1);
    }
    return 1 - (2 / Math.sqrt(Math.PI)) * sum;
  }
  let fraction = x;
  for (let n = 60; n > 0; n--) fraction = x + n / 2 / fraction;
  return Math.exp(-x * x) / (Math.sqrt(Math.PI) * fraction);
}

function meanAndVariance(values: readonly number[]): { readonly mean: number; readonly variance: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  return { mean, variance: values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length };
}

/** How many rows of attention, or groups of an image, are looked at, each of which costs a pass over `elements` of the operands. */
function passes(elements: number, most: number): number {
  const budget = 2 ** 24;
  return Math.max(3, Math.min(most, Math.floor(budget / elements)));
}

function samples(operation: ComputedOperation, shape: readonly number[], wanted: number): readonly number[] {
  const next = randomNumbers();
  const count = product(shape);
  const among = (limit: number): number => Math.floor(next() * limit);
  const anywhere = (): number => among(count);
  const [batches = 1] = shape;
  const ends = [0, count - 1];
  switch (operation.kind) {
    case 'attention': {
      const channels = shape.at(-1) ?? 1;
      const { heads, k } = operation;
      const dim = channels / heads;
      const rowSamples = passes((k.shape[1] ?? 1) * dim, 32);
      const rows = Array.from({ length: rowSamples }, () => among(count / channels) * channels + among(heads) * dim);
      return [...ends, ...rows.flatMap((row) => Array.from({ length: Math.ceil(wanted / rowSamples) }, () => row + among(dim)))];
    }
    case 'groupMoments': {
      const [first] = operation.source.parts;
      const pairs = Array.from({ length: passes(product(first?.shape ?? []) / operation.groups, 8) }, () => among(count / 2) * 2);
      return [...ends, ...pairs.flatMap((pair) => [pair, pair + 1])];
    }
    case 'groupNorm': {
      const [, channels = 1, height = 1, width = 1] = shape;
      const { groups } = operation;
      const perGroup = channels / groups;
      const pairs = Array.from({ length: passes(perGroup * height * width, 6) }, () => [among(batches), among(groups)] as const);
      const inPairs = pairs.flatMap(([batch, group]) =>
        Array.from({ length: Math.ceil(wanted / pairs.length) }, () => {
          const channel = group * perGroup + among(perGroup);
          return (batch * channels + channel) * height * width + among(height * width);
        }),
      );
      return [...ends, ...inPairs];
    }
    default:
      return [...ends, ...Array.from({ length: wanted - 2 }, anywhere)];
  }
}

/** The same from run to run. */
function randomNumbers(): () => number {
  let state = 12_345;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

function unravel(flat: number, shape: readonly number[]): readonly number[] {
  let rest = flat;
  const index = shape.map(() => 0);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    const size = shape[axis] ?? 1;
    index[axis] = rest % size;
    rest = Math.floor(rest / size);
  }
  return index;
}

function dot(index: readonly number[], strides: readonly number[]): number {
  return index.reduce((sum, at, axis) => sum + at * (strides[axis] ?? 0), 0);
}

function remembered<T>(make: (key: number) => T): (key: number) => T {
  const known = new Map<number, T>();
  return (key) => {
    const found = known.get(key) ?? make(key);
    known.set(key, found);
    return found;
  };
}
