/**
 * A plan made concrete for one set of sizes and one rank: which buffer every value lives in, which bytes each exchange moves.
 * Plain data, so that it can be posted to the worker, which then follows it without knowing graphs or meshes.
 */
import type { MomentsPlace, Plan } from '../../engine/index.js';
import {
  evaluateDim,
  evaluateShape,
  typeOf,
  type CollectiveLabel,
  type NodeOf,
  type SymbolValues,
  type ValueId,
} from '../../graph/index.js';
import { byteLength, type DType } from '../../tensor/index.js';
import { BufferPlan } from './buffer-plan.js';
import type { ShapeInput } from './lower.js';

/** A tensor view of a buffer. */
export interface Binding {
  readonly name: string;
  readonly buffer: number;
  readonly dtype: DType;
  readonly shape: readonly number[];
}

export interface SegmentStep {
  readonly kind: 'segment';
  readonly segment: number;
  readonly feeds: readonly Binding[];
  readonly fetches: readonly Binding[];
  readonly sizes: readonly { readonly name: string; readonly values: readonly number[] }[];
}

/** `bytes` bytes between a buffer and the shared area (or between two buffers, or zeros where `from` is absent). */
export interface Copy {
  readonly from?: { readonly buffer: number | 'shared'; readonly offset: number };
  readonly to: { readonly buffer: number | 'shared'; readonly offset: number };
  readonly bytes: number;
}

/** A range of the shared area sent to, or received from, a peer (a rank of the world). */
export interface Range {
  readonly peer: number;
  readonly offset: number;
  readonly bytes: number;
}

/** Moments that were gathered: where, and where this rank's own were packed for the exchange before. */
export interface GatheredMoments extends MomentsPlace {
  readonly buffer: number;
  readonly bytes: number;
  /** Offset in the shared area. */
  readonly packedAt: number;
  readonly packedBytes: number;
}

export interface ExchangeStep {
  readonly kind: 'exchange';
  readonly tag: number;
  readonly label: CollectiveLabel;
  /** Before the exchange: payloads into the shared area. */
  readonly pack: readonly Copy[];
  /** After it: what arrived, this rank's own part, and zeros at the image's edges. */
  readonly unpack: readonly Copy[];
  readonly sends: readonly Range[];
  readonly receives: readonly Range[];
  readonly moments?: GatheredMoments;
}

export interface Schedule {
  readonly bufferBytes: readonly number[];
  readonly sharedBytes: number;
  readonly exchanges: number;
  readonly inputs: readonly Binding[];
  readonly outputs: readonly Binding[];
  readonly steps: readonly (SegmentStep | ExchangeStep)[];
}

/** Where this rank stands among the ranks it exchanges with. */
export interface Groups {
  readonly rank: number;
  readonly patch: readonly number[];
  readonly world: readonly number[];
}

/**
 * Exchanges of the labels in `kept` get a part of the shared area each, which holds what was sent and received from one run to the
 * next; all others use the same part in turn.
 */
export function schedulePlan(
  plan: Plan,
  shapeInputs: readonly (readonly ShapeInput[])[],
  symbols: SymbolValues,
  groups: Groups,
  kept: ReadonlySet<CollectiveLabel> = new Set(),
): Schedule {
  const { graph } = plan;
  const sizeOf = (value: ValueId): number => {
    const { dtype, shape } = typeOf(graph, value);
    return byteLength(dtype, evaluateShape(shape, symbols));
  };
  const buffers = new BufferPlan(plan, sizeOf);
  const binding = (name: string, value: ValueId): Binding => {
    const { dtype, shape } = typeOf(graph, value);
    return { name, buffer: buffers.of(value), dtype, shape: evaluateShape(shape, symbols) };
  };
  const exchangeAt = (tag: number, node: NodeOf<'collective'>, start: number): ScheduledExchange =>
    scheduleExchange({ tag, node, plan, symbols, groups, start, bufferOf: (value) => buffers.of(value) });
  const exchanges = plan.steps.filter((step) => step.kind === 'exchange');
  const passing = exchanges.filter(({ node }) => !kept.has(node.params.label)).map(({ tag, node }) => exchangeAt(tag, node, 0).end);
  let sharedBytes = Math.max(0, ...passing);
  const steps = plan.steps.map((step): SegmentStep | ExchangeStep => {
    if (step.kind === 'exchange') {
      const keeps = kept.has(step.node.params.label);
      const exchange = exchangeAt(step.tag, step.node, keeps ? sharedBytes : 0);
      if (keeps) sharedBytes = exchange.end;
      return exchange.step;
    }
    const segment = plan.segments[step.segment];
    if (segment === undefined) throw new Error(`${graph.name} has no segment ${String(step.segment)}`);
    return {
      kind: 'segment',
      segment: step.segment,
      feeds: segment.inputs.map(({ name, value }) => binding(name, value)),
      fetches: segment.outputs.map(({ name, value }) => binding(name, value)),
      sizes: (shapeInputs[step.segment] ?? []).map(({ name, dims }) => ({ name, values: dims.map((dim) => evaluateDim(dim, symbols)) })),
    };
  });
  return {
    bufferBytes: buffers.sizes,
    sharedBytes,
    exchanges: exchanges.length,
    inputs: graph.inputs.map(({ name, value }) => binding(name, value)),
    outputs: graph.outputs.map(({ name, value }) => binding(name, value)),
    steps,
  };
}

interface ScheduledExchange {
  readonly step: ExchangeStep;
  /** Where its part of the shared area ends. */
  readonly end: number;
}

function scheduleExchange({
  tag,
  node,
  plan,
  symbols,
  groups,
  start,
  bufferOf,
}: {
  readonly tag: number;
  readonly node: NodeOf<'collective'>;
  readonly plan: Plan;
  readonly symbols: SymbolValues;
  readonly groups: Groups;
  readonly start: number;
  readonly bufferOf: (value: ValueId) => number;
}): ScheduledExchange {
  const group = groups[node.params.group];
  const position = group.indexOf(groups.rank);
  const [pack, unpack]: [Copy[], Copy[]] = [[], []];
  const [sends, receives]: [Range[], Range[]] = [[], []];
  let end = start;
  let moments: GatheredMoments | undefined;
  const reserve = (bytes: number): number => {
    const offset = end;
    // Payloads start 16-byte aligned.
    end += Math.ceil(bytes / 16) * 16;
    return offset;
  };
  node.params.payloads.forEach((payload, index) => {
    const [source, target] = [node.inputs[index] ?? -1, node.outputs[index] ?? -1];
    const { dtype, shape } = typeOf(plan.graph, source);
    const dims = evaluateShape(shape, symbols);
    const bytes = byteLength(dtype, dims);
    const [from, to] = [bufferOf(source), bufferOf(target)];
    const mine = reserve(bytes);
    pack.push({ from: { buffer: from, offset: 0 }, to: { buffer: 'shared', offset: mine }, bytes });
    if (payload.kind === 'moments') {
      moments = { buffer: to, bytes: bytes * group.length, packedAt: mine, packedBytes: bytes, ranks: group.length, position };
    }
    if (payload.kind !== 'neighbors') {
      const axis = payload.kind === 'moments' ? 0 : payload.axis;
      const outer = dims.slice(0, axis).reduce((product, dim) => product * dim, 1);
      const inner = bytes / outer;
      group.forEach((peer, place) => {
        const own = peer === groups.rank;
        const offset = own ? 0 : reserve(bytes);
        if (!own) {
          sends.push({ peer, offset: mine, bytes });
          receives.push({ peer, offset, bytes });
        }
        for (let row = 0; row < outer; row++) {
          unpack.push({
            from: { buffer: own ? from : 'shared', offset: offset + row * inner },
            to: { buffer: to, offset: (row * group.length + place) * inner },
            bytes: inner,
          });
        }
      });
      return;
    }
    const half = bytes / 2;
    for (const [side, place] of [
      [0, position - 1],
      [1, position + 1],
    ] as const) {
      const peer = group[place];
      const to2 = { buffer: to, offset: side * half };
      if (peer === undefined || place < 0) {
        unpack.push({ to: to2, bytes: half });
        continue;
      }
      const offset = reserve(half);
      sends.push({ peer, offset: mine + side * half, bytes: half });
      receives.push({ peer, offset, bytes: half });
      unpack.push({ from: { buffer: 'shared', offset }, to: to2, bytes: half });
    }
  });
  const step = { kind: 'exchange', tag, label: node.params.label, pack, unpack, sends, receives } as const;
  return { step: moments === undefined ? step : { ...step, moments }, end };
}
