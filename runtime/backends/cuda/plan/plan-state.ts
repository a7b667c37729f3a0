/**
 * A program as it is being planned: which view every value of the graph lies in, the buffers so far, the operations of each stage. Knows how
 * values lie in memory, not what operations mean.
 */
import { SdxlError } from '../../../errors/index.js';
import {
  evaluateShape,
  typeOf,
  type Graph,
  type Node,
  type NodeOf,
  type OpName,
  type SymbolValues,
  type ValueId,
} from '../../../graph/index.js';
import type { NormSource, Operation, Stage } from './operations.js';
import { Patterns } from './patterns.js';
import { padded, PlannedWeights } from './planned-weights.js';
import type { BufferSpec } from './program.js';
import {
  isDense,
  matrixView,
  memoryOrder,
  permute,
  product,
  reshapeView,
  sliceView,
  stridesInOrder,
  type BufferId,
  type ElementType,
  type MatrixView,
  type View,
} from './view.js';

/** Ops whose results are images; results of pointwise ops and views look like their operands. */
const imageOps: ReadonlySet<OpName> = new Set([
  'conv2d',
  'groupNorm',
  'groupNormalize',
  'upsampleNearest',
  'boundaryRows',
  'padRows',
] satisfies OpName[]);

/** `[b, c, h, w]` or `[n, b, c, h, w]`. */
function withPaddedChannels(sizes: readonly number[]): number[] {
  return sizes.with(-3, padded(sizes.at(-3) ?? 0));
}

export class PlanState {
  readonly graph: Graph;
  readonly symbols: SymbolValues;
  readonly patterns: Patterns;
  readonly scoreBytes: number;
  readonly buffers: BufferSpec[] = [];
  readonly weights: PlannedWeights;
  readonly sources = new Map<ValueId, NormSource>();
  readonly stageOf = new Map<ValueId, Stage>();
  readonly operations: Record<Stage, Operation[]> = { prompt: [], timestep: [], step: [] };
  /** Of the node that is planned. */
  stage: Stage = 'step';
  position = 0;
  /** Values whose views lie in a buffer. */
  readonly #residents = new Map<BufferId, ValueId[]>();
  readonly #padBuffers = new Map<Node, View>();
  readonly #stageOfBuffer = new Map<BufferId, Stage>();

  constructor(graph: Graph, symbols: SymbolValues, scoreBytes: number) {
    this.graph = graph;
    this.symbols = symbols;
    this.scoreBytes = scoreBytes;
    this.patterns = new Patterns(graph);
    this.weights = new PlannedWeights(graph, this.buffers);
  }

  /** A view that holds `value` and may be added to: its own, or a copy. */
  startFrom(value: ValueId, node: Node): View {
    const view = this.view(value);
    if (isDense(view) && this.mayOverwrite(view)) return view;
    const copy = this.allocate(view.shape, 'half', 'operation');
    this.push({ kind: 'pointwise', name: `${node.name}.residual`, function: 'copy', x: view, y: copy });
    return copy;
  }

  /** Whether nobody needs any more what lies in the view's buffer. */
  mayOverwrite({ buffer }: View): boolean {
    if (this.buffers[buffer]?.role !== 'operation' || this.#stageOfBuffer.get(buffer) !== this.stage) return false;
    return (this.#residents.get(buffer) ?? []).every((value) => this.patterns.lastUseOf(value) <= this.position);
  }

  /** Where a band and the rows of its neighbours lie together. */
  padBuffer(node: NodeOf<'padRows'>): View {
    const known = this.#padBuffers.get(node);
    if (known !== undefined) return known;
    const buffer = this.allocate(this.shape(node.outputs[0] ?? -1), 'half', 'operation');
    this.#padBuffers.set(node, buffer);
    return buffer;
  }

  padPart(node: NodeOf<'padRows'>, part: 'body' | 'halo'): View {
    const whole = this.padBuffer(node);
    const { rows } = node.params;
    const height = (whole.shape[2] ?? 0) - 2 * rows;
    if (part === 'body') return sliceView(whole, 2, rows, rows + height);
    if (rows !== 1) throw this.unsupported(node, `a halo of ${String(rows)} rows`);
    return { ...whole, shape: whole.shape.with(2, 2), strides: whole.strides.with(2, (whole.strides[2] ?? 0) * (height + 1)) };
  }

  /** What a reshape or transposition shows of `view`; a copy where no view can. */
  aliased(node: NodeOf<'reshape'> | NodeOf<'transpose'>, view: View): View {
    if (node.op === 'transpose') return permute(view, node.params.permutation);
    const logical = this.logicalShape(node.outputs[0] ?? -1);
    const shape = product(logical) === product(view.shape) ? logical : withPaddedChannels(logical);
    const reshaped = reshapeView(view, shape);
    if (reshaped !== undefined) return reshaped;
    const dense = this.allocate(
      view.shape,
      view.type,
      'operation',
      view.shape.map((_, axis) => axis),
    );
    this.push({ kind: 'pointwise', name: node.name, function: 'copy', x: view, y: dense });
    return this.aliased(node, dense);
  }

  /** The inverse of {@link aliased}: the producer's view of what `view` shows after the alias. */
  unaliased(alias: Node, view: View): View {
    if (alias.op === 'transpose') {
      const inverse = alias.params.permutation.map((_, axis) => alias.params.permutation.indexOf(axis));
      return permute(view, inverse);
    }
    const reshaped = reshapeView(view, this.logicalShape(alias.inputs[0] ?? -1));
    if (reshaped === undefined) throw this.unsupported(alias, 'a rearrangement that is no view before an addition');
    return reshaped;
  }

  /** The view, or a dense copy of it. */
  dense(view: View, node: Node): View {
    if (isDense(view)) return view;
    const y = this.allocate(view.shape, view.type, 'operation');
    this.push({ kind: 'pointwise', name: `${node.name}.dense`, function: 'copy', x: view, y });
    return y;
  }

  matrixOf(value: ValueId, node: Node): MatrixView {
    const view = this.view(value);
    return matrixView(view) ?? this.matrix(this.dense(view, node), node);
  }

  matrix(view: View, node: Node): MatrixView {
    const matrix = matrixView(view);
    if (matrix === undefined) throw this.unsupported(node, 'operands that are no matrix');
    return matrix;
  }

  /** The parts that a value consists of, which norms and pointwise convolutions read in place. */
  source(value: ValueId): NormSource {
    const source = this.sources.get(value);
    if (source !== undefined) return source;
    return { parts: [this.view(value)] };
  }

  /** Of a value in one part. */
  view(value: ValueId): View {
    const known = this.sources.get(value);
    if (known === undefined) return this.#constant(value);
    const [view, ...others] = known.parts;
    if (view === undefined || others.length > 0 || known.shift !== undefined) throw new Error(`%${String(value)} is no single view`);
    return view;
  }

  /** A weight that is an operand like any other. */
  #constant(value: ValueId): View {
    const shape = this.weights.shapeOf(value);
    const strides = stridesInOrder(
      shape,
      shape.map((_, axis) => axis),
    );
    const view: View = { buffer: this.weights.table(value), offset: 0, type: 'half', shape, strides };
    this.sources.set(value, { parts: [view] });
    return view;
  }

  define(value: ValueId, view: View): void {
    this.sources.set(value, { parts: [view] });
    this.#residents.set(view.buffer, [...(this.#residents.get(view.buffer) ?? []), value]);
  }

  /** Where the value of an operation goes: a new buffer, or its place within a padded one. */
  result(value: ValueId, type: ElementType = 'half', shape: readonly number[] = this.shape(value)): View {
    const placement = this.patterns.placements.get(value);
    const view = placement === undefined ? this.allocate(shape, type, 'operation') : this.padPart(placement.pad, placement.part);
    this.define(value, view);
    return view;
  }

  allocate(shape: readonly number[], type: ElementType, role: BufferSpec['role'], order = memoryOrder(shape.length, type)): View {
    const strides = stridesInOrder(shape, order);
    const buffer = this.buffers.length;
    this.buffers.push({ type, elements: product(shape), role });
    this.#stageOfBuffer.set(buffer, this.stage);
    return { buffer, offset: 0, type, shape, strides };
  }

  /** The shape in memory: as the graph has it, with the channels of images padded. */
  shape(value: ValueId): number[] {
    const sizes = this.logicalShape(value);
    const producer = this.patterns.producerOf(value);
    const isImage = producer === undefined ? sizes.length === 4 && (sizes[1] ?? 1) > 1 : imageOps.has(producer.op);
    return isImage ? withPaddedChannels(sizes) : sizes;
  }

  logicalShape(value: ValueId): number[] {
    return evaluateShape(typeOf(this.graph, value).shape, this.symbols);
  }

  push(operation: Operation): void {
    this.operations[this.stage].push(operation);
  }

  unsupported(node: Node, what: string): SdxlError {
    return new SdxlError('GRAPH_INVALID', `${this.graph.name}: the CUDA backend cannot plan ${node.op} at ${node.name}: ${what}`, {
      fields: { graph: this.graph.name, node: node.name, op: node.op },
    });
  }
}
