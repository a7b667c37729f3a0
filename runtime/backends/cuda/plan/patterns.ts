/**
 * Finds what can be fused before anything is emitted: which nodes vanish into a neighbour, and where. Only decisions are made here;
 * plan/planner.ts acts on them.
 */
import { equalShapes, type Dim, type Graph, type Node, type NodeOf, type ValueId } from '../../../graph/index.js';

/** An `add` that a matrix product or convolution ends in: `residual` is added in its epilogue. */
export interface Epilogue {
  readonly producer: NodeOf<'linear'> | NodeOf<'conv2d'>;
  /** Reshapes and transposes between the two. */
  readonly aliases: readonly Node[];
  readonly residual: ValueId;
}

/** A value that is written straight into the buffer of the `padRows` that reads it. */
export interface Placement {
  readonly pad: NodeOf<'padRows'>;
  readonly part: 'body' | 'halo';
}

export class Patterns {
  readonly epilogues = new Map<Node, Epilogue>();
  /** Producers that wait for the node their epilogue or gate ends in. */
  readonly deferred = new Map<Node, Node>();
  /** Normalisation → the SiLU after it. */
  readonly silu = new Map<Node, NodeOf<'activation'>>();
  /** Normalisation of a halo → the edge mask's product after it. */
  readonly masks = new Map<Node, NodeOf<'mul'>>();
  /** Product → the projection whose halves it gates. */
  readonly geglu = new Map<Node, ValueId>();
  /** First of several linear layers over the same value → all of them, one matrix product. */
  readonly siblings = new Map<Node, readonly NodeOf<'linear'>[]>();
  readonly placements = new Map<ValueId, Placement>();
  /** Nodes that are part of another's operation. */
  readonly absorbed = new Set<Node>();
  /** Concatenations and additions of a time embedding that their readers perform on load. */
  readonly onLoad = new Set<Node>();

  readonly #graph: Graph;
  readonly #consumers = new Map<ValueId, Node[]>();
  readonly #producers = new Map<ValueId, Node>();
  readonly #positions = new Map<Node, number>();
  readonly #outputs: ReadonlySet<ValueId>;
  readonly #lastUses = new Map<ValueId, number>();

  constructor(graph: Graph) {
    this.#graph = graph;
    this.#outputs = new Set(graph.outputs.map(({ value }) => value));
    graph.nodes.forEach((node, position) => {
      this.#positions.set(node, position);
      for (const input of node.inputs) this.#consumers.set(input, [...(this.#consumers.get(input) ?? []), node]);
      for (const output of node.outputs) this.#producers.set(output, node);
    });
    for (const node of graph.nodes) {
      if (node.op === 'add') this.#matchEpilogue(node);
      if (node.op === 'mul') this.#matchGeglu(node);
      if (node.op === 'groupNorm' || node.op === 'groupNormalize') this.#matchNorm(node);
      if (node.op === 'concat') this.#matchConcat(node);
      if (node.op === 'padRows') this.#matchPadding(node);
    }
    this.#matchShifts();
    this.#matchSiblings();
  }

  producerOf(value: ValueId): Node | undefined {
    return this.#producers.get(value);
  }

  consumersOf(value: ValueId): readonly Node[] {
    return this.#consumers.get(value) ?? [];
  }

  /** Where in the order of nodes the operation that contains `node` is emitted. */
  positionOf(node: Node): number {
    const at = this.deferred.get(node) ?? node;
    const first = [...this.siblings.values()].find((group) => group.some((member) => member === at))?.[0];
    return this.#positions.get(first ?? at) ?? 0;
  }

  /** The last position that reads `value`, through views and fused neighbours; Infinity for outputs of the graph. */
  lastUseOf(value: ValueId): number {
    const known = this.#lastUses.get(value);
    if (known !== undefined) return known;
    let last = this.#outputs.has(value) ? Infinity : -1;
    for (const consumer of this.consumersOf(value)) {
      const passes = isAlias(consumer) || this.onLoad.has(consumer) || this.absorbed.has(consumer);
      const use = passes ? Math.max(...consumer.outputs.map((output) => this.lastUseOf(output))) : this.positionOf(consumer);
      last = Math.max(last, use);
    }
    this.#lastUses.set(value, last);
    return last;
  }

  #onlyConsumer(value: ValueId): Node | undefined {
    const consumers = this.consumersOf(value);
    return consumers.length === 1 && !this.#outputs.has(value) ? consumers[0] : undefined;
  }

  /** An `add` of equal shapes one of whose operands is a product or convolution nobody else reads. */
  #matchEpilogue(add: NodeOf<'add'>): void {
    const [a = -1, b = -1] = add.inputs;
    if (a === b || !equalShapes(this.#shape(a), this.#shape(b))) return;
    const candidates = [a, b].flatMap((operand, side): Epilogue[] => {
      const aliases: Node[] = [];
      let value = operand;
      for (;;) {
        if (this.#onlyConsumer(value) !== (aliases[0] ?? add)) return [];
        const producer = this.#producers.get(value);
        if (producer === undefined) return [];
        if (producer.op === 'linear' || producer.op === 'conv2d') return [{ producer, aliases, residual: side === 0 ? b : a }];
        if (!isAlias(producer)) return [];
        aliases.unshift(producer);
        value = producer.inputs[0] ?? -1;
      }
    });
    // Of a shortcut and the convolution beside it, the larger kernel takes the addition.
    const size = ({ producer }: Epilogue): number => (producer.op === 'conv2d' && producer.params.padding.left > 0 ? 1 : 0);
    const [best] = candidates.sort((first, second) => size(second) - size(first));
    if (best === undefined) return;
    this.epilogues.set(add, best);
    this.deferred.set(best.producer, add);
    for (const alias of best.aliases) this.absorbed.add(alias);
  }

  #matchGeglu(mul: NodeOf<'mul'>): void {
    const [value, activation] = mul.inputs.map((input) => this.#producers.get(input));
    if (value?.op !== 'slice' || activation?.op !== 'activation' || activation.params.kind !== 'gelu') return;
    const gate = this.#producers.get(activation.inputs[0] ?? -1);
    const source = value.inputs[0] ?? -1;
    if (gate?.op !== 'slice' || gate.inputs[0] !== source) return;
    const axis = this.#shape(source).length - 1;
    const width = this.#shape(source)[axis];
    const half = value.params.end;
    const halves = value.params.start === 0 && gate.params.start === half && gate.params.end === width;
    if (!halves || value.params.axis !== axis || gate.params.axis !== axis) return;
    if ([value, gate, activation].some((node) => this.#onlyConsumer(node.outputs[0] ?? -1) === undefined)) return;
    this.geglu.set(mul, source);
    for (const node of [value, gate, activation]) this.absorbed.add(node);
    const producer = this.#producers.get(source);
    const isAlone = this.consumersOf(source).length === 2 && !this.#outputs.has(source);
    if (producer?.op === 'linear' && isAlone) this.deferred.set(producer, mul);
  }

  #matchNorm(norm: Node): void {
    const next = this.#onlyConsumer(norm.outputs[0] ?? -1);
    let end = norm;
    if (next?.op === 'activation' && next.params.kind === 'silu') {
      this.silu.set(norm, next);
      this.absorbed.add(next);
      end = next;
    }
    const mask = this.#onlyConsumer(end.outputs[0] ?? -1);
    const isMask = mask?.op === 'mul' && this.#graph.inputs.some(({ value }) => value === mask.inputs[1]);
    if (norm.op === 'groupNormalize' && isMask && mask.inputs[0] === end.outputs[0]) {
      this.masks.set(norm, mask);
      this.absorbed.add(mask);
    }
  }

  #matchConcat(concat: NodeOf<'concat'>): void {
    const value = concat.outputs[0] ?? -1;
    const onLoad = (node: Node): boolean => readsSources(node) || (node.op === 'conv2d' && isPointwiseConvolution(node));
    if (concat.params.axis === 1 && this.#shape(value).length === 4 && this.consumersOf(value).every(onLoad)) this.onLoad.add(concat);
  }

  /** `x + t` where t is one number for each image and channel, read by normalisations only. */
  #matchShifts(): void {
    for (const node of this.#graph.nodes) {
      if (node.op !== 'add') continue;
      const [x = -1, shift = -1] = node.inputs;
      const value = node.outputs[0] ?? -1;
      const [, , height, width] = this.#shape(shift);
      const perChannel = this.#shape(shift).length === 4 && height === 1 && width === 1 && !equalShapes(this.#shape(x), this.#shape(shift));
      if (perChannel && !this.#outputs.has(value) && this.consumersOf(value).every(readsSources)) this.onLoad.add(node);
    }
  }

  #matchSiblings(): void {
    const groups = new Map<string, NodeOf<'linear'>[]>();
    for (const node of this.#graph.nodes) {
      if (node.op !== 'linear' || this.deferred.has(node)) continue;
      const travels = this.consumersOf(node.outputs[0] ?? -1).some(({ op }) => op === 'collective');
      const key = [node.inputs[0], node.inputs.length, travels].join();
      groups.set(key, [...(groups.get(key) ?? []), node]);
    }
    for (const group of groups.values()) {
      const [first] = group;
      if (group.length > 1 && first !== undefined) this.siblings.set(first, group);
    }
  }

  #matchPadding(pad: NodeOf<'padRows'>): void {
    const parts = ['body', 'halo'] as const;
    pad.inputs.forEach((value, index) => {
      const part = parts[index];
      if (part === undefined || this.#onlyConsumer(value) !== pad) return;
      let producer = this.#producers.get(value);
      // The operation that normalises may end in this mask or SiLU.
      while (producer !== undefined && this.absorbed.has(producer)) producer = this.#producers.get(producer.inputs[0] ?? -1);
      const writesAnywhere = producer?.op === 'groupNormalize';
      if (writesAnywhere && (part === 'body' || pad.params.rows === 1)) this.placements.set(value, { pad, part });
    });
  }

  #shape(value: ValueId): readonly Dim[] {
    const type = this.#graph.types.get(value);
    if (type === undefined) throw new Error(`${this.#graph.name} has no value %${String(value)}`);
    return type.shape;
  }
}

export function isAlias(node: Node): node is NodeOf<'reshape'> | NodeOf<'transpose'> {
  return node.op === 'reshape' || node.op === 'transpose';
}

export function isPointwiseConvolution({ params: { stride, padding } }: NodeOf<'conv2d'>): boolean {
  return stride === 1 && padding.top === 0 && padding.bottom === 0 && padding.left === 0 && padding.right === 0;
}

/** Ops whose kernels read side-by-side images and add the time embedding on load. */
function readsSources(node: Node): boolean {
  return node.op === 'groupNorm' || node.op === 'groupMoments' || node.op === 'groupNormalize' || node.op === 'boundaryRows';
}
