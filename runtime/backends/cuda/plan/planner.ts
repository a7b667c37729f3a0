/**
 * From a graph and the sizes of one run to a {@link Program}: walks the nodes in order, turns movement into views, emits one operation
 * for each group of nodes that plan/patterns.ts found, and notes which buffer everything lies in.
 *
 * Physical types: images and tokens in the half type; ids i64; statistics, and what only sinusoids read, f32. Channels of images are
 * padded to a multiple of 8 (16 bytes, what tensor cores load at once); the padding holds zeros, as the padded weights do.
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
import { displaceProgram, type PlanDisplacement } from './displace.js';
import { planMemory } from './memory.js';
import { stages, type NormSource, type Operation, type OperationOf, type Stage } from './operations.js';
import { isAlias, isPointwiseConvolution, Patterns } from './patterns.js';
import { channelUnit, padded, PlannedWeights } from './planned-weights.js';
import type { BufferSpec, Program, ProgramValue } from './program.js';
import {
  elementBytes,
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

export interface PlanOptions {
  readonly graph: Graph;
  readonly symbols: SymbolValues;
  /** The stage from which each input is known; inputs not named here change in every step. */
  readonly inputStages: Readonly<Record<string, Stage>>;
  /** Memory for the fp32 scores of a head too wide for fused attention, of at least 128 queries; 128 MiB where not given. */
  readonly scoreBytes?: number;
  /** How steps after the warm-up are displaced; undefined: all are synchronous. */
  readonly displaced?: PlanDisplacement | undefined;
}

export function planProgram(options: PlanOptions): Program {
  const planned = new Planner(options).run();
  const program = options.displaced === undefined ? { ...planned, displaced: undefined } : displaceProgram(planned, options.displaced);
  return { ...program, memory: planMemory(program) };
}

/** cuDNN's fused attention holds a head of so many channels on chip; wider ones run at a tenth of a product's speed. */
const widestFusedHead = 256;

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

class Planner {
  readonly #graph: Graph;
  readonly #symbols: SymbolValues;
  readonly #inputStages: Readonly<Record<string, Stage>>;
  readonly #patterns: Patterns;
  readonly #scoreBytes: number;
  readonly #buffers: BufferSpec[] = [];
  readonly #weights: PlannedWeights;
  readonly #sources = new Map<ValueId, NormSource>();
  /** Values whose views lie in a buffer. */
  readonly #residents = new Map<BufferId, ValueId[]>();
  readonly #padBuffers = new Map<Node, View>();
  readonly #stageOf = new Map<ValueId, Stage>();
  readonly #stageOfBuffer = new Map<BufferId, Stage>();
  readonly #operations: Record<Stage, Operation[]> = { prompt: [], timestep: [], step: [] };
  #stage: Stage = 'step';
  #position = 0;

  constructor({ graph, symbols, inputStages, scoreBytes = 128 << 20 }: PlanOptions) {
    this.#scoreBytes = scoreBytes;
    this.#graph = graph;
    this.#symbols = symbols;
    this.#inputStages = inputStages;
    this.#patterns = new Patterns(graph);
    this.#weights = new PlannedWeights(graph, this.#buffers);
  }

  run(): Omit<Program, 'memory' | 'displaced'> {
    const inputs = this.#graph.inputs.map(({ name, value }) => this.#input(name, value));
    this.#graph.nodes.forEach((node, position) => {
      this.#position = position;
      this.#stage = this.#stageOfNode(node);
      for (const output of node.outputs) this.#stageOf.set(output, this.#stage);
      this.#emitNode(node);
    });
    const outputs = this.#graph.outputs.map(({ name, value }) => ({ name, view: this.#view(value), shape: this.#logicalShape(value) }));
    return { name: this.#graph.name, buffers: this.#buffers, inputs, outputs, operations: this.#operations };
  }

  #input(name: string, value: ValueId): ProgramValue {
    const { dtype } = typeOf(this.#graph, value);
    const type = dtype === 'i64' ? 'i64' : this.#feedsSinusoid(value) ? 'f32' : 'half';
    const view = this.#allocate(this.#shape(value), type, 'input');
    this.#stageOf.set(value, this.#inputStages[name] ?? 'step');
    this.#define(value, view);
    return { name, view, shape: this.#logicalShape(value) };
  }

  /** Sizes and timesteps beyond 2048 are no fp16 numbers. */
  #feedsSinusoid(value: ValueId): boolean {
    const consumers = this.#patterns.consumersOf(value);
    return (
      consumers.length > 0 &&
      consumers.every((node) => node.op === 'sinusoid' || (isAlias(node) && this.#feedsSinusoid(node.outputs[0] ?? -1)))
    );
  }

  #emitNode(node: Node): void {
    const patterns = this.#patterns;
    if (patterns.absorbed.has(node) || patterns.deferred.has(node)) return;
    switch (node.op) {
      case 'linear':
        this.#linear(node);
        return;
      case 'conv2d':
        this.#convolution(node, node.outputs[0] ?? -1, [], undefined);
        return;
      case 'attention':
        this.#attention(node);
        return;
      case 'layerNorm':
        this.#layerNorm(node);
        return;
      case 'groupNorm':
      case 'groupNormalize':
        this.#normalize(node);
        return;
      case 'groupMoments': {
        const [source = -1] = node.inputs;
        const y = this.#result(node.outputs[0] ?? -1, 'f32');
        this.#push({ kind: 'groupMoments', name: node.name, source: this.#source(source), groups: this.#groups(node), y });
        return;
      }
      case 'boundaryRows': {
        const y = this.#result(node.outputs[0] ?? -1);
        this.#push({ kind: 'boundaryRows', name: node.name, source: this.#source(node.inputs[0] ?? -1), rows: node.params.rows, y });
        return;
      }
      case 'padRows':
        this.#padRows(node);
        return;
      case 'add':
        this.#add(node);
        return;
      case 'mul':
        this.#multiply(node);
        return;
      case 'activation':
        this.#pointwise(node, node.params.kind);
        return;
      case 'affine': {
        const x = this.#view(node.inputs[0] ?? -1);
        const y = this.#result(node.outputs[0] ?? -1, 'half', x.shape);
        const { factor, offset } = node.params;
        this.#push({ kind: 'pointwise', name: node.name, function: 'affine', x, y, factor, offset });
        return;
      }
      case 'embedding':
        this.#embedding(node);
        return;
      case 'selectToken': {
        const [x, index] = [this.#view(node.inputs[0] ?? -1), this.#view(node.inputs[1] ?? -1)];
        this.#push({ kind: 'selectToken', name: node.name, x, index, y: this.#matrix(this.#result(node.outputs[0] ?? -1), node) });
        return;
      }
      case 'sinusoid': {
        const { flipSinToCos, shift, maxPeriod } = node.params;
        const [x, y] = [this.#view(node.inputs[0] ?? -1), this.#matrix(this.#result(node.outputs[0] ?? -1), node)];
        this.#push({ kind: 'sinusoid', name: node.name, x, y, flipSinToCos, shift, maxPeriod });
        return;
      }
      case 'reshape':
      case 'transpose':
        this.#define(node.outputs[0] ?? -1, this.#aliased(node, this.#view(node.inputs[0] ?? -1)));
        return;
      case 'slice': {
        const { axis, start, end } = node.params;
        this.#define(node.outputs[0] ?? -1, sliceView(this.#view(node.inputs[0] ?? -1), axis, start, end));
        return;
      }
      case 'concat':
        this.#concat(node);
        return;
      case 'upsampleNearest': {
        const [x, y] = [this.#view(node.inputs[0] ?? -1), this.#result(node.outputs[0] ?? -1)];
        this.#push({ kind: 'upsample', name: node.name, x, factor: node.params.factor, y });
        return;
      }
      case 'collective':
        this.#collective(node);
        return;
      default:
        node satisfies never;
    }
  }

  /** One product for all layers over the same value. */
  #linear(node: NodeOf<'linear'>): void {
    const group = this.#patterns.siblings.get(node) ?? [node];
    if (this.#sources.has(node.outputs[0] ?? -1)) return;
    const x = this.#matrixOf(node.inputs[0] ?? -1, node);
    const outs = group.map((member) => this.#weights.shapeOf(member.inputs[1] ?? -1)[0] ?? 0);
    const columns = outs.reduce((sum, out) => sum + out, 0);
    const leading = this.#shape(node.outputs[0] ?? -1).slice(0, -1);
    const y = this.#allocate([...leading, columns], 'half', 'operation');
    const name = group.length === 1 ? node.name : `${node.name} and ${String(group.length - 1)} more`;
    this.#product(name, x, group, this.#matrix(y, node), false);
    let start = 0;
    group.forEach((member, index) => {
      const end = start + (outs[index] ?? 0);
      const output = member.outputs[0] ?? -1;
      this.#stageOf.set(output, this.#stage);
      this.#define(output, sliceView(y, leading.length, start, end));
      start = end;
    });
  }

  /** y = x·Wᵀ + b (or y +=) with the stacked weights of `layers`. */
  #product(
    name: string,
    x: MatrixView,
    layers: readonly (NodeOf<'linear'> | NodeOf<'conv2d'>)[],
    y: MatrixView,
    accumulate: boolean,
    part: { readonly offset: number; readonly withBias: boolean } = { offset: 0, withBias: true },
  ): void {
    const weight = this.#weights.kernel(layers.map((layer) => layer.inputs[1] ?? -1));
    const biases = layers.flatMap((layer) => layer.inputs.slice(2));
    this.#push({
      kind: 'gemm',
      name,
      x,
      weight: weight.buffer,
      weightOffset: part.offset,
      weightStride: weight.inputs,
      ...(biases.length > 0 && part.withBias ? { bias: this.#weights.vector(biases, 'half') } : {}),
      accumulate,
      y,
    });
  }

  /** A convolution whose result, through `aliases`, is `output`, plus a residual where there is one. */
  #convolution(node: NodeOf<'conv2d'>, output: ValueId, aliases: readonly Node[], residual: ValueId | undefined): void {
    if (isPointwiseConvolution(node)) {
      this.#pointwiseConvolution(node, output, residual);
      return;
    }
    if (aliases.length > 0) throw this.#unsupported(node, 'a convolution whose result is rearranged before an addition');
    const x = this.#dense(this.#view(node.inputs[0] ?? -1), node);
    const z = residual === undefined ? undefined : this.#dense(this.#view(residual), node);
    const y = z !== undefined && this.#mayOverwrite(z) ? z : this.#allocate(this.#shape(node.outputs[0] ?? -1), 'half', 'operation');
    const weight = this.#weights.kernel([node.inputs[1] ?? -1]);
    this.#define(output, y);
    this.#push({
      kind: 'conv',
      name: node.name,
      x,
      weight: weight.buffer,
      ...(node.inputs[2] === undefined ? {} : { bias: this.#weights.vector([node.inputs[2]], 'half') }),
      ...(z === undefined ? {} : { residual: z }),
      y,
      kernel: [weight.height, weight.width],
      stride: node.params.stride,
      padding: node.params.padding,
    });
  }

  /** 1×1: a product over pixels; over a concatenation one product for each part. */
  #pointwiseConvolution(node: NodeOf<'conv2d'>, output: ValueId, residual: ValueId | undefined): void {
    const { parts, shift } = this.#source(node.inputs[0] ?? -1);
    if (shift !== undefined) throw this.#unsupported(node, 'a convolution of a shifted value');
    const y =
      residual === undefined ? this.#allocate(this.#shape(node.outputs[0] ?? -1), 'half', 'operation') : this.#startFrom(residual, node);
    let offset = 0;
    parts.forEach((part, index) => {
      const x = this.#matrix(permute(part, memoryOrder(4)), node);
      const target = this.#matrix(permute(y, memoryOrder(4)), node);
      const accumulate = residual !== undefined || index > 0;
      this.#product(node.name, x, [node], target, accumulate, { offset, withBias: index === 0 });
      offset += x.columns;
    });
    this.#define(output, y);
  }

  #add(node: NodeOf<'add'>): void {
    const output = node.outputs[0] ?? -1;
    const epilogue = this.#patterns.epilogues.get(node);
    if (epilogue !== undefined) {
      const { producer, aliases, residual } = epilogue;
      if (producer.op === 'conv2d') this.#convolution(producer, output, aliases, residual);
      else this.#linearOnto(producer, aliases, residual, output);
      return;
    }
    const [a = -1, b = -1] = node.inputs;
    if (this.#patterns.onLoad.has(node)) {
      const [batch = 1, channels = 1] = this.#shape(b);
      const shift = reshapeView(this.#view(b), [batch, channels]);
      if (shift === undefined) throw this.#unsupported(node, 'a time embedding that is not dense');
      this.#sources.set(output, { parts: this.#source(a).parts, shift });
      return;
    }
    this.#broadcast(node, 'add');
  }

  /** y = residual + x·Wᵀ + b, in the residual's place where nobody needs it any more. */
  #linearOnto(node: NodeOf<'linear'>, aliases: readonly Node[], residual: ValueId, output: ValueId): void {
    const x = this.#matrixOf(node.inputs[0] ?? -1, node);
    const y = this.#startFrom(residual, node);
    // The residual's elements in the order in which the product writes them.
    const written = aliases.toReversed().reduce((view, alias) => this.#unaliased(alias, view), y);
    this.#product(node.name, x, [node], this.#matrix(written, node), true);
    this.#define(output, y);
  }

  /** A view that holds `value` and may be added to: its own, or a copy. */
  #startFrom(value: ValueId, node: Node): View {
    const view = this.#view(value);
    if (isDense(view) && this.#mayOverwrite(view)) return view;
    const copy = this.#allocate(view.shape, 'half', 'operation');
    this.#push({ kind: 'pointwise', name: `${node.name}.residual`, function: 'copy', x: view, y: copy });
    return copy;
  }

  #mayOverwrite({ buffer }: View): boolean {
    if (this.#buffers[buffer]?.role !== 'operation' || this.#stageOfBuffer.get(buffer) !== this.#stage) return false;
    return (this.#residents.get(buffer) ?? []).every((value) => this.#patterns.lastUseOf(value) <= this.#position);
  }

  #attention(node: NodeOf<'attention'>): void {
    const [q, k, v] = [0, 1, 2].map((index) => this.#view(node.inputs[index] ?? -1));
    if (q === undefined || k === undefined || v === undefined) throw new Error(`${node.name} lacks an operand`);
    const { heads, scale, causal } = node.params;
    const y = this.#result(node.outputs[0] ?? -1);
    // Rows of whole 16-byte pieces, as products and softmax read them.
    const isAligned = (k.shape[1] ?? 1) % channelUnit === 0;
    if (heads === 1 && !causal && isAligned && (q.shape[2] ?? 0) > widestFusedHead) this.#wideAttention(node, { q, k, v, y }, scale);
    else this.#push({ kind: 'attention', name: node.name, q, k, v, y, heads, scale, causal });
  }

  /**
   * One head too wide for fused kernels, the VAE's of 512 channels: products and a softmax over as many queries at a time as fit the limit.
   * Softmaxes are held times 256, so that one over all tokens of an image is no denormal number of fp16.
   */
  #wideAttention(node: Node, { q, k, v, y }: Readonly<Record<'q' | 'k' | 'v' | 'y', View>>, scale: number): void {
    const [batch = 1, queries = 1, channels = 1] = q.shape;
    const keys = k.shape[1] ?? 1;
    const held = 256;
    const rows = Math.min(queries, Math.max(128, Math.floor(this.#scoreBytes / (keys * elementBytes.f32) / 128) * 128));
    const image = (view: View, index: number, start: number, end: number): MatrixView =>
      this.#matrix(sliceView(sliceView(view, 0, index, index + 1), 1, start, end), node);
    for (let index = 0; index < batch; index++) {
      const transposed = this.#allocate([channels, keys], 'half', 'operation');
      const values = permute(sliceView(v, 0, index, index + 1), [0, 2, 1]);
      const x = { ...values, shape: values.shape.slice(1), strides: values.strides.slice(1) };
      this.#push({ kind: 'pointwise', name: `${node.name}.values`, function: 'copy', x, y: transposed });
      for (let start = 0; start < queries; start += rows) {
        const end = Math.min(queries, start + rows);
        const scores = this.#matrix(this.#allocate([end - start, keys], 'f32', 'operation'), node);
        const weights = this.#matrix(this.#allocate([end - start, keys], 'half', 'operation'), node);
        const [queried, known] = [image(q, index, start, end), image(k, index, 0, keys)];
        this.#push({ kind: 'matmul', name: `${node.name}.scores`, x: queried, w: known, y: scores, factor: scale });
        this.#push({ kind: 'softmax', name: `${node.name}.softmax`, x: scores, y: weights, factor: held });
        const [w, out] = [this.#matrix(transposed, node), image(y, index, start, end)];
        this.#push({ kind: 'matmul', name: `${node.name}.sum`, x: weights, w, y: out, factor: 1 / held });
      }
    }
  }

  #layerNorm(node: NodeOf<'layerNorm'>): void {
    const [x = -1, weight = -1, bias = -1] = node.inputs;
    this.#push({
      kind: 'layerNorm',
      name: node.name,
      x: this.#matrixOf(x, node),
      weight: this.#weights.vector([weight], 'f32'),
      bias: this.#weights.vector([bias], 'f32'),
      epsilon: node.params.epsilon,
      y: this.#matrix(this.#result(node.outputs[0] ?? -1), node),
    });
  }

  #normalize(node: NodeOf<'groupNorm'> | NodeOf<'groupNormalize'>): void {
    const { silu, masks } = this.#patterns;
    const mask = masks.get(node);
    const output = (mask ?? silu.get(node) ?? node).outputs[0] ?? -1;
    const affine = node.inputs.slice(-2).map((value) => this.#weights.vector([value], 'f32'));
    const [weight = -1, bias = -1] = affine;
    const common = {
      name: node.name,
      source: this.#source(node.inputs[0] ?? -1),
      groups: this.#groups(node),
      epsilon: node.params.epsilon,
      weight,
      bias,
      silu: silu.has(node),
    };
    this.#stageOf.set(output, this.#stage);
    if (node.op === 'groupNorm') {
      this.#push({ kind: 'groupNorm', ...common, y: this.#result(output, 'half', this.#shape(node.outputs[0] ?? -1)) });
      return;
    }
    const moments = this.#view(node.inputs[1] ?? -1);
    const rowMask = mask === undefined ? {} : { rowMask: this.#view(mask.inputs[1] ?? -1) };
    const ranks = moments.shape[0] ?? 1;
    const y = this.#result(output, 'half', this.#shape(node.outputs[0] ?? -1));
    this.#push({ kind: 'groupNormalize', ...common, moments, ranks, ...rowMask, y });
  }

  #groups(node: NodeOf<'groupNorm'> | NodeOf<'groupNormalize'> | NodeOf<'groupMoments'>): number {
    const channels = this.#shape(node.inputs[0] ?? -1)[1] ?? 0;
    if (channels % channelUnit !== 0) throw this.#unsupported(node, `${String(channels)} channels, no multiple of ${String(channelUnit)}`);
    return node.params.groups;
  }

  #padRows(node: NodeOf<'padRows'>): void {
    for (const [index, part] of (['body', 'halo'] as const).entries()) {
      const value = node.inputs[index] ?? -1;
      if (this.#patterns.placements.get(value)?.pad === node) continue;
      const y = this.#padPart(node, part);
      this.#push({ kind: 'pointwise', name: `${node.name}.${part}`, function: 'copy', x: this.#view(value), y });
    }
    this.#define(node.outputs[0] ?? -1, this.#padBuffer(node));
  }

  #padBuffer(node: NodeOf<'padRows'>): View {
    const known = this.#padBuffers.get(node);
    if (known !== undefined) return known;
    const buffer = this.#allocate(this.#shape(node.outputs[0] ?? -1), 'half', 'operation');
    this.#padBuffers.set(node, buffer);
    return buffer;
  }

  #padPart(node: NodeOf<'padRows'>, part: 'body' | 'halo'): View {
    const whole = this.#padBuffer(node);
    const { rows } = node.params;
    const height = (whole.shape[2] ?? 0) - 2 * rows;
    if (part === 'body') return sliceView(whole, 2, rows, rows + height);
    if (rows !== 1) throw this.#unsupported(node, `a halo of ${String(rows)} rows`);
    return { ...whole, shape: whole.shape.with(2, 2), strides: whole.strides.with(2, (whole.strides[2] ?? 0) * (height + 1)) };
  }

  #multiply(node: NodeOf<'mul'>): void {
    const source = this.#patterns.geglu.get(node);
    if (source === undefined) {
      this.#broadcast(node, 'mul');
      return;
    }
    const y = this.#matrix(this.#result(node.outputs[0] ?? -1), node);
    const projection = this.#patterns.producerOf(source);
    if (projection?.op !== 'linear' || this.#patterns.deferred.get(projection) !== node) {
      this.#push({ kind: 'geglu', name: node.name, x: this.#matrixOf(source, node), y });
      return;
    }
    const weight = this.#weights.kernel([projection.inputs[1] ?? -1]);
    const bias = projection.inputs[2];
    this.#push({
      kind: 'gatedGemm',
      name: projection.name,
      x: this.#matrixOf(projection.inputs[0] ?? -1, projection),
      weight: weight.buffer,
      weightStride: weight.inputs,
      ...(bias === undefined ? {} : { bias: this.#weights.vector([bias], 'half') }),
      projection: this.#matrix(this.#allocate(this.#shape(source), 'half', 'operation'), projection),
      y,
    });
  }

  #broadcast(node: NodeOf<'add'> | NodeOf<'mul'>, name: 'add' | 'mul'): void {
    const [x, operand] = [this.#view(node.inputs[0] ?? -1), this.#view(node.inputs[1] ?? -1)];
    const strides = operand.strides.map((stride, axis) => (operand.shape[axis] === 1 ? 0 : stride));
    const b = { ...operand, shape: x.shape, strides };
    this.#push({ kind: 'pointwise', name: node.name, function: name, x, b, y: this.#result(node.outputs[0] ?? -1, 'half', x.shape) });
  }

  #pointwise(node: Node, name: 'silu' | 'gelu' | 'quickGelu'): void {
    const x = this.#view(node.inputs[0] ?? -1);
    this.#push({ kind: 'pointwise', name: node.name, function: name, x, y: this.#result(node.outputs[0] ?? -1, 'half', x.shape) });
  }

  #concat(node: NodeOf<'concat'>): void {
    const output = node.outputs[0] ?? -1;
    if (this.#patterns.onLoad.has(node)) {
      const parts = node.inputs.map((input) => this.#view(input));
      this.#sources.set(output, { parts });
      return;
    }
    const { axis } = node.params;
    const y = this.#result(output);
    let start = 0;
    for (const input of node.inputs) {
      const x = this.#view(input);
      const end = start + (x.shape[axis] ?? 0);
      this.#push({ kind: 'pointwise', name: node.name, function: 'copy', x, y: sliceView(y, axis, start, end) });
      start = end;
    }
  }

  #embedding(node: NodeOf<'embedding'>): void {
    const [table = -1, ids = -1] = node.inputs;
    const [rows = 0, width = 0] = this.#weights.shapeOf(table);
    const y = this.#matrix(this.#result(node.outputs[0] ?? -1), node);
    this.#push({ kind: 'embedding', name: node.name, table: this.#weights.table(table), rows, width, ids: this.#view(ids), y });
  }

  /** Payloads that lie side by side in one buffer, as K and V do, travel as one. */
  #collective(node: NodeOf<'collective'>): void {
    const { label, group, ranks, payloads } = node.params;
    const moves: OperationOf<'collective'>['payloads'][number][] = [];
    payloads.forEach((payload, index) => {
      const output = node.outputs[index] ?? -1;
      const source = this.#view(node.inputs[index] ?? -1);
      const joined = payload.kind === 'allGather' ? this.#joinable(source) : undefined;
      const previous = moves.at(-1);
      if (joined !== undefined && previous?.from.buffer === joined.buffer) {
        this.#define(output, this.#partOfJoined(source, previous.to));
        return;
      }
      if (joined !== undefined && payload.kind === 'allGather') {
        const shape = joined.shape.with(payload.axis, (joined.shape[payload.axis] ?? 1) * ranks);
        const to = this.#allocate(shape, joined.type, 'operation');
        moves.push({ payload, from: joined, to });
        this.#define(output, this.#partOfJoined(source, to));
        return;
      }
      const from = this.#dense(source, node);
      const axis = { allGather: 'axis' in payload ? payload.axis : 0, moments: 0, neighbors: undefined }[payload.kind];
      const to = this.#result(output, from.type, axis === undefined ? from.shape : from.shape.with(axis, (from.shape[axis] ?? 1) * ranks));
      moves.push({ payload, from, to });
    });
    this.#push({ kind: 'collective', name: node.name, label, group, ranks, payloads: moves });
  }

  /** The whole of a merged product `[…, n]` of which `view` is a slice of columns. */
  #joinable(view: View): View | undefined {
    const columns = view.strides.at(-2) ?? 0;
    const width = view.shape.at(-1) ?? 0;
    if (view.shape.length !== 3 || view.strides.at(-1) !== 1 || columns <= width) return undefined;
    const whole = { ...view, offset: 0, shape: view.shape.with(-1, columns) };
    return isDense(whole) && this.#buffers[view.buffer]?.elements === product(whole.shape) ? whole : undefined;
  }

  #partOfJoined(part: View, whole: View): View {
    return sliceView(whole, 2, part.offset, part.offset + (part.shape[2] ?? 0));
  }

  // Views and buffers.

  #aliased(node: NodeOf<'reshape'> | NodeOf<'transpose'>, view: View): View {
    if (node.op === 'transpose') return permute(view, node.params.permutation);
    const logical = this.#logicalShape(node.outputs[0] ?? -1);
    const shape = product(logical) === product(view.shape) ? logical : withPaddedChannels(logical);
    const reshaped = reshapeView(view, shape);
    if (reshaped !== undefined) return reshaped;
    const dense = this.#allocate(
      view.shape,
      view.type,
      'operation',
      view.shape.map((_, axis) => axis),
    );
    this.#push({ kind: 'pointwise', name: node.name, function: 'copy', x: view, y: dense });
    return this.#aliased(node, dense);
  }

  /** The inverse of {@link #aliased}: the producer's view of what `view` shows after the alias. */
  #unaliased(alias: Node, view: View): View {
    if (alias.op === 'transpose') {
      const inverse = alias.params.permutation.map((_, axis) => alias.params.permutation.indexOf(axis));
      return permute(view, inverse);
    }
    const reshaped = reshapeView(view, this.#logicalShape(alias.inputs[0] ?? -1));
    if (reshaped === undefined) throw this.#unsupported(alias, 'a rearrangement that is no view before an addition');
    return reshaped;
  }

  #dense(view: View, node: Node): View {
    if (isDense(view)) return view;
    const y = this.#allocate(view.shape, view.type, 'operation');
    this.#push({ kind: 'pointwise', name: `${node.name}.dense`, function: 'copy', x: view, y });
    return y;
  }

  #matrixOf(value: ValueId, node: Node): MatrixView {
    const view = this.#view(value);
    return matrixView(view) ?? this.#matrix(this.#dense(view, node), node);
  }

  #matrix(view: View, node: Node): MatrixView {
    const matrix = matrixView(view);
    if (matrix === undefined) throw this.#unsupported(node, 'operands that are no matrix');
    return matrix;
  }

  #source(value: ValueId): NormSource {
    const source = this.#sources.get(value);
    if (source !== undefined) return source;
    return { parts: [this.#view(value)] };
  }

  #view(value: ValueId): View {
    const known = this.#sources.get(value);
    if (known === undefined) return this.#constant(value);
    const [view, ...others] = known.parts;
    if (view === undefined || others.length > 0 || known.shift !== undefined) throw new Error(`%${String(value)} is no single view`);
    return view;
  }

  /** A weight that is an operand like any other. */
  #constant(value: ValueId): View {
    const shape = this.#weights.shapeOf(value);
    const strides = stridesInOrder(
      shape,
      shape.map((_, axis) => axis),
    );
    const view: View = { buffer: this.#weights.table(value), offset: 0, type: 'half', shape, strides };
    this.#sources.set(value, { parts: [view] });
    return view;
  }

  #define(value: ValueId, view: View): void {
    this.#sources.set(value, { parts: [view] });
    this.#residents.set(view.buffer, [...(this.#residents.get(view.buffer) ?? []), value]);
  }

  /** Where the value of an operation goes: a new buffer, or its place within a padded one. */
  #result(value: ValueId, type: ElementType = 'half', shape: readonly number[] = this.#shape(value)): View {
    const placement = this.#patterns.placements.get(value);
    const view = placement === undefined ? this.#allocate(shape, type, 'operation') : this.#padPart(placement.pad, placement.part);
    this.#define(value, view);
    return view;
  }

  #allocate(shape: readonly number[], type: ElementType, role: BufferSpec['role'], order = memoryOrder(shape.length, type)): View {
    const strides = stridesInOrder(shape, order);
    const buffer = this.#buffers.length;
    this.#buffers.push({ type, elements: product(shape), role });
    this.#stageOfBuffer.set(buffer, this.#stage);
    return { buffer, offset: 0, type, shape, strides };
  }

  /** The shape in memory: as the graph has it, with the channels of images padded. */
  #shape(value: ValueId): number[] {
    const sizes = this.#logicalShape(value);
    const producer = this.#patterns.producerOf(value);
    const isImage = producer === undefined ? sizes.length === 4 && (sizes[1] ?? 1) > 1 : imageOps.has(producer.op);
    return isImage ? withPaddedChannels(sizes) : sizes;
  }

  #logicalShape(value: ValueId): number[] {
    return evaluateShape(typeOf(this.#graph, value).shape, this.#symbols);
  }

  #push(operation: Operation): void {
    this.#operations[this.#stage].push(operation);
  }

  /** The latest stage any operand comes from. */
  #stageOfNode(node: Node): Stage {
    const inputs = [...node.inputs, ...(this.#patterns.epilogues.get(node)?.producer.inputs ?? [])];
    const order = inputs.filter((input) => !this.#weights.has(input)).map((input) => stages.indexOf(this.#stageOf.get(input) ?? 'prompt'));
    return stages[Math.max(0, ...order)] ?? 'step';
  }

  #unsupported(node: Node, what: string): SdxlError {
    return new SdxlError('GRAPH_INVALID', `${this.#graph.name}: the CUDA backend cannot plan ${node.op} at ${node.name}: ${what}`, {
      fields: { graph: this.#graph.name, node: node.name, op: node.op },
    });
  }
}
