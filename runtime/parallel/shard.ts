/**
 * The sharding pass: rewrites a whole-image graph into the graph one band of rows runs.
 *
 * Because sizes are symbolic, the band's graph is the same for every rank: `height` then means the band's own rows, ranks at the
 * image's edges receive zero rows, and what must differ comes in as an input (`edge_mask`, `<input>.halo`). Inserted are: per
 * GroupNorm one exchange of fp32 moments, which also carries the boundary rows of the convolution that follows; per other padded
 * convolution one exchange of boundary rows; per self-attention one all-gather of K and V; per output one all-gather over the
 * world. For SDXL's UNet that is 46 + 4 + 70 = 120 exchanges and the final gather.
 */
import { SdxlError } from '../errors/index.js';
import {
  dependsOn,
  equalShapes,
  GraphBuilder,
  typeOf,
  verify,
  type Dim,
  type Graph,
  type Node,
  type NodeOf,
  type OpName,
  type Value,
  type ValueId,
} from '../graph/index.js';
import { haloSource, isPointwise, keepsZero, producersOf, type HaloSource, type ReplayNode } from './halo.js';
import { worldSize, type Mesh } from './mesh.js';

/** How the pass treats each op when its first operand is a band. */
const treatment = {
  linear: 'local',
  conv2d: 'neighbors',
  attention: 'gather',
  layerNorm: 'local',
  groupNorm: 'statistics',
  groupMoments: 'sharded already',
  groupNormalize: 'sharded already',
  add: 'local',
  mul: 'local',
  activation: 'local',
  affine: 'local',
  embedding: 'whole only',
  selectToken: 'whole only',
  sinusoid: 'local',
  reshape: 'local',
  transpose: 'local',
  concat: 'other axes',
  slice: 'other axes',
  upsampleNearest: 'local',
  boundaryRows: 'sharded already',
  padRows: 'sharded already',
  collective: 'sharded already',
} as const satisfies Record<OpName, string>;

/** The graph of one rank of `mesh`; the graph itself where the mesh is a single rank. Verified. */
export function shard(graph: Graph, mesh: Mesh): Graph {
  if (worldSize(mesh) === 1) return graph;
  const sharded = new ShardingPass(graph, mesh).run();
  verify(sharded);
  return sharded;
}

/** Symbol whose presence in a shape makes a value a band; its rows are what the mesh splits. */
const rowSymbol = 'height';

class ShardingPass {
  readonly #graph: Graph;
  readonly #mesh: Mesh;
  readonly #b: GraphBuilder;
  readonly #values = new Map<ValueId, Value>();
  readonly #producers: ReadonlyMap<ValueId, Node>;
  readonly #sources = new Map<Node, HaloSource>();
  /** Boundary rows already exchanged, and moments, by the original value and GroupNorm node. */
  readonly #halos = new Map<ValueId, Value>();
  readonly #moments = new Map<Node, Value>();
  #edgeMask: Value | undefined;

  constructor(graph: Graph, mesh: Mesh) {
    this.#graph = graph;
    this.#mesh = mesh;
    this.#b = new GraphBuilder(graph.name);
    this.#producers = producersOf(graph);
  }

  run(): Graph {
    const graph = this.#graph;
    for (const name of graph.symbols) this.#b.symbol(name);
    for (const node of graph.nodes) {
      if (this.#needsHalo(node)) this.#sources.set(node, haloSource(graph, this.#producers, node.inputs[0] ?? -1));
    }
    for (const { name, value } of graph.inputs)
      this.#values.set(value, this.#b.input(name, typeOf(graph, value).shape, typeOf(graph, value).dtype));
    for (const { key, value, shape } of graph.weights) this.#values.set(value, this.#b.weight(key, shape));
    for (const node of graph.nodes) this.#rewrite(node);
    for (const { name, value } of graph.outputs) this.#b.output(name, this.#gatherOutput(name, value));
    return this.#b.finish();
  }

  #rewrite(node: Node): void {
    const banded = this.#mesh.patch > 1 && node.inputs.some((input) => this.#isBand(input));
    if (!banded) {
      this.#copy(node);
      return;
    }
    switch (node.op) {
      case 'groupNorm':
        this.#define(node, [this.#normalize(node)]);
        return;
      case 'conv2d':
        if (this.#needsHalo(node)) this.#define(node, [this.#convolve(node)]);
        else this.#copy(node);
        return;
      case 'attention':
        this.#define(node, [this.#attend(node)]);
        return;
      case 'concat':
      case 'slice':
        if (this.#dependsOnRows(typeOf(this.#graph, node.inputs[0] ?? -1).shape[node.params.axis] ?? 0)) {
          this.#refuse(node, `${node.op} along the rows`);
        }
        this.#copy(node);
        return;
      default:
        if (treatment[node.op] !== 'local') this.#refuse(node, treatment[node.op]);
        this.#copy(node);
    }
  }

  /** GroupNorm: local moments, one exchange, local normalisation. */
  #normalize(node: NodeOf<'groupNorm'>): Value {
    const source = node.inputs[0] ?? -1;
    const [x, weight, bias] = [this.#value(source), this.#value(node.inputs[1] ?? -1), this.#value(node.inputs[2] ?? -1)];
    const rows = this.#rowsWanted(node);
    const [moments] = this.#b.node('groupMoments', `${node.name}.moments`, { groups: node.params.groups }, [x]);
    const boundary = rows === 0 ? [] : this.#b.node('boundaryRows', `${node.name}.boundary`, { rows }, [x]);
    const [merged, received] = this.#b.collective(
      `${node.name}.exchange`,
      { group: 'patch', ranks: this.#mesh.patch, label: rows === 0 ? 'group_norm' : 'group_norm_halo' },
      [
        ...(moments === undefined ? [] : [{ value: moments, payload: { kind: 'moments' } as const }]),
        ...boundary.map((value) => ({ value, payload: { kind: 'neighbors' } as const })),
      ],
    );
    if (merged === undefined) throw new Error('a GroupNorm exchange without moments');
    this.#moments.set(node, merged);
    if (received !== undefined) this.#halos.set(source, this.#joinHalo(node.name, received, x, rows));
    return this.#groupNormalize(node, x, merged, weight, bias);
  }

  #groupNormalize(node: NodeOf<'groupNorm'>, x: Value, moments: Value, weight: Value, bias: Value): Value {
    const [value] = this.#b.node('groupNormalize', node.name, node.params, [x, moments, weight, bias]);
    return value ?? x;
  }

  /** A padded convolution: boundary rows above and below take the place of the vertical padding. */
  #convolve(node: NodeOf<'conv2d'>): Value {
    const rows = node.params.padding.top;
    const input = node.inputs[0] ?? -1;
    const source = this.#sources.get(node);
    if (source === undefined) throw new Error(`no halo source for ${node.name}`);
    let halo = this.#sourceRows(node, source, rows);
    for (const step of source.replay) halo = this.#replay(step, halo, rows, node.name);
    if (source.replay.some((step) => !keepsZero(step))) halo = this.#b.mul(`${node.name}.edge`, halo, this.#mask(rows));
    const [padded] = this.#b.node('padRows', `${node.name}.pad`, { rows }, [this.#value(input), halo]);
    const [weight, bias] = [this.#value(node.inputs[1] ?? -1), this.#value(node.inputs[2] ?? -1)];
    if (padded === undefined) throw new Error('padRows has no output');
    const padding = { ...node.params.padding, top: 0, bottom: 0 };
    return this.#b.conv2d(node.name, padded, weight, bias, { stride: node.params.stride, padding });
  }

  #sourceRows(node: NodeOf<'conv2d'>, source: HaloSource, rows: number): Value {
    const known = this.#halos.get(source.value);
    if (known !== undefined) return known;
    const x = this.#value(source.value);
    if (source.from === 'norm') throw new Error(`${node.name} comes before the statistics its rows travel with`);
    if (source.from === 'input') {
      const name = this.#graph.inputs.find((input) => input.value === source.value)?.name ?? '';
      const halo = this.#b.input(`${name}.halo`, x.shape.with(2, 2 * rows), x.dtype);
      this.#halos.set(source.value, halo);
      return halo;
    }
    const boundary = this.#b.node('boundaryRows', `${node.name}.boundary`, { rows }, [x]);
    const [received] = this.#b.collective(
      `${node.name}.exchange`,
      { group: 'patch', ranks: this.#mesh.patch, label: 'halo' },
      boundary.map((value) => ({ value, payload: { kind: 'neighbors' } as const })),
    );
    if (received === undefined) throw new Error('a halo exchange without rows');
    const halo = this.#joinHalo(node.name, received, x, rows);
    this.#halos.set(source.value, halo);
    return halo;
  }

  /** `[2, b, c, rows, w]` as received → `[b, c, 2·rows, w]`. */
  #joinHalo(name: string, received: Value, x: Value, rows: number): Value {
    const stacked = this.#b.transpose(`${name}.halo_rows`, received, [1, 2, 0, 3, 4]);
    return this.#b.reshape(`${name}.halo`, stacked, x.shape.with(2, 2 * rows));
  }

  #replay(step: ReplayNode, halo: Value, rows: number, at: string): Value {
    const name = `${at}.halo.${step.op}`;
    switch (step.op) {
      case 'activation':
        return this.#b.activation(name, step.params.kind, halo);
      case 'affine':
        return this.#b.affine(name, halo, step.params.factor, step.params.offset);
      case 'upsampleNearest': {
        // Both upsampled copies of a row are equal; of the factor·rows above, the last `rows` touch the band.
        const { factor, size } = step.params;
        const all = this.#b.upsampleNearest(name, halo, factor, size && [2 * rows * factor, size[1]]);
        const inner = rows * factor - rows;
        return this.#b.slice(`${name}.inner`, all, 2, inner, inner + 2 * rows);
      }
      case 'groupNorm': {
        const moments = this.#moments.get(step);
        if (moments === undefined) throw new Error(`no moments of ${step.name}`);
        const [weight, bias] = [this.#value(step.inputs[1] ?? -1), this.#value(step.inputs[2] ?? -1)];
        const [value] = this.#b.node('groupNormalize', name, step.params, [halo, moments, weight, bias]);
        return value ?? halo;
      }
      case 'conv2d':
        return this.#b.conv2d(name, halo, this.#value(step.inputs[1] ?? -1), this.#value(step.inputs[2] ?? -1), {});
    }
  }

  /** Self-attention: this band's queries against every band's keys and values. */
  #attend(node: NodeOf<'attention'>): Value {
    const [q = -1, k = -1, v = -1] = node.inputs;
    if (!this.#isBand(k)) return this.#b.attention(node.name, this.#value(q), this.#value(k), this.#value(v), node.params);
    if (!this.#isBand(q)) this.#refuse(node, 'attention of whole queries to banded keys');
    const payload = { kind: 'allGather', axis: 1 } as const;
    const [keys, values] = this.#b.collective(
      `${node.name}.exchange`,
      { group: 'patch', ranks: this.#mesh.patch, label: 'key_value' },
      [k, v].map((id) => ({ value: this.#value(id), payload })),
    );
    if (keys === undefined || values === undefined) throw new Error('a K/V exchange without payloads');
    return this.#b.attention(node.name, this.#value(q), keys, values, node.params);
  }

  /** Outputs that are bands (or one guidance branch) are gathered from every rank: `[world, …]`, in rank order. */
  #gatherOutput(name: string, id: ValueId): Value {
    const value = this.#value(id);
    if (!this.#isBand(id)) return value;
    const stacked = this.#b.reshape(`${name}.stack`, value, [1, ...value.shape]);
    const ranks = worldSize(this.#mesh);
    const [gathered] = this.#b.collective(`${name}.gather`, { group: 'world', ranks, label: 'gather' }, [
      { value: stacked, payload: { kind: 'allGather', axis: 0 } },
    ]);
    return gathered ?? value;
  }

  #mask(rows: number): Value {
    this.#edgeMask ??= this.#b.input('edge_mask', [1, 1, 2 * rows, 1]);
    if (!equalShapes(this.#edgeMask.shape, [1, 1, 2 * rows, 1])) throw new Error('halos of different widths');
    return this.#edgeMask;
  }

  /** Boundary rows that travel with this norm's statistics. */
  #rowsWanted(norm: Node): number {
    for (const [node, source] of this.#sources) {
      if (source.from === 'norm' && source.replay[0] === norm && node.op === 'conv2d') return node.params.padding.top;
    }
    return 0;
  }

  #needsHalo(node: Node): node is NodeOf<'conv2d'> {
    if (this.#mesh.patch === 1 || node.op !== 'conv2d' || !this.#isBand(node.inputs[0] ?? -1) || isPointwise(node)) return false;
    if (node.params.padding.top !== node.params.padding.bottom) this.#refuse(node, 'padding that differs above and below');
    return node.params.padding.top > 0;
  }

  #isBand(id: ValueId): boolean {
    return typeOf(this.#graph, id).shape.some((size) => this.#dependsOnRows(size));
  }

  #dependsOnRows(size: Dim): boolean {
    return dependsOn(size, rowSymbol);
  }

  #copy(node: Node): void {
    this.#define(
      node,
      this.#b.node(
        node.op,
        node.name,
        node.params,
        node.inputs.map((input) => this.#value(input)),
      ),
    );
  }

  #define(node: Node, values: readonly Value[]): void {
    node.outputs.forEach((output, position) => {
      const value = values[position];
      if (value === undefined) throw new Error(`${node.name} lost an output`);
      this.#values.set(output, value);
    });
  }

  #value(id: ValueId): Value {
    const value = this.#values.get(id);
    if (value === undefined) throw new Error(`${this.#graph.name}: %${String(id)} is read before it is rewritten`);
    return value;
  }

  #refuse(node: Node, reason: string): never {
    throw new SdxlError('GRAPH_INVALID', `${this.#graph.name}: cannot shard ${node.op} at ${node.name}: ${reason}`, {
      fields: { graph: this.#graph.name, node: node.name, op: node.op },
    });
  }
}
