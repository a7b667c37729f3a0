/**
 * Places buffers in memory from their lifetimes. Buffers that live within one stage share the arena: largest first, each at the lowest
 * offset that is free for as long as it lives. What one stage leaves to a later one, or a displaced step to the next, and outputs, get a
 * place of their own.
 */
import { stages, type Operation } from './operations.js';
import type { MemoryPlan, Program } from './program.js';
import { elementBytes, type BufferId } from './view.js';

/** What kernels and copies may assume of every buffer's address. */
const alignment = 256;

interface Span {
  readonly first: number;
  readonly last: number;
}

interface Lifetime {
  readonly buffer: BufferId;
  readonly bytes: number;
  readonly kept: 'once' | 'twice' | undefined;
  /** In all stages, and in the displaced step, which runs instead of the step. */
  span: Span | undefined;
  displaced: Span | undefined;
  readonly stages: Set<number>;
}

export function planMemory(program: Omit<Program, 'memory'>): MemoryPlan {
  const lifetimes = lifetimesOf(program);
  const outputs = new Set(program.outputs.map(({ view }) => view.buffer));
  const places = new Map<BufferId, { block: 'arena' | 'persistent' | 'halved'; offset: number }>();
  let [persistentBytes, halfBytes] = [0, 0];
  const shared: Lifetime[] = [];
  for (const lifetime of lifetimes.values()) {
    if (lifetime.kept === 'twice') {
      places.set(lifetime.buffer, { block: 'halved', offset: halfBytes });
      halfBytes += lifetime.bytes;
    } else if (lifetime.kept === undefined && lifetime.stages.size === 1 && !outputs.has(lifetime.buffer)) shared.push(lifetime);
    else {
      places.set(lifetime.buffer, { block: 'persistent', offset: persistentBytes });
      persistentBytes += lifetime.bytes;
    }
  }
  let arenaBytes = 0;
  const placed: (Lifetime & { readonly offset: number })[] = [];
  const start = ({ span, displaced }: Lifetime): number => (span ?? displaced)?.first ?? 0;
  for (const lifetime of shared.sort((a, b) => b.bytes - a.bytes || start(a) - start(b))) {
    const meanwhile = placed
      .filter((other) => overlap(other.span, lifetime.span) || overlap(other.displaced, lifetime.displaced))
      .sort((a, b) => a.offset - b.offset);
    let offset = 0;
    for (const other of meanwhile) {
      if (offset + lifetime.bytes <= other.offset) break;
      offset = Math.max(offset, other.offset + other.bytes);
    }
    placed.push({ ...lifetime, offset });
    places.set(lifetime.buffer, { block: 'arena', offset });
    arenaBytes = Math.max(arenaBytes, offset + lifetime.bytes);
  }
  return { places, arenaBytes, persistentBytes, halfBytes };
}

function overlap(a: Span | undefined, b: Span | undefined): boolean {
  return a !== undefined && b !== undefined && a.first <= b.last && b.first <= a.last;
}

/** First and last operation that touches each buffer; operations are numbered through all stages, so that stages don't overlap. */
function lifetimesOf({ buffers, operations, displaced = [] }: Omit<Program, 'memory'>): ReadonlyMap<BufferId, Lifetime> {
  const lifetimes = new Map<BufferId, Lifetime>();
  let position = 0;
  const visit = (operation: Operation, stage: number, sequence: 'span' | 'displaced'): void => {
    for (const buffer of buffersOf(operation)) {
      const spec = buffers[buffer];
      if (spec?.role !== 'operation') continue;
      const bytes = Math.ceil((spec.elements * elementBytes[spec.type]) / alignment) * alignment;
      const lifetime = lifetimes.get(buffer) ?? {
        buffer,
        bytes,
        kept: spec.kept,
        span: undefined,
        displaced: undefined,
        stages: new Set<number>(),
      };
      lifetime[sequence] = { first: lifetime[sequence]?.first ?? position, last: position };
      lifetime.stages.add(stage);
      lifetimes.set(buffer, lifetime);
    }
    position++;
  };
  stages.forEach((stage, index) => {
    for (const operation of operations[stage]) visit(operation, index, 'span');
  });
  for (const operation of displaced) visit(operation, stages.indexOf('step'), 'displaced');
  return lifetimes;
}

/** Every buffer an operation reads or writes: whatever in it is a view, or names a buffer. */
export function buffersOf(operation: Operation): ReadonlySet<BufferId> {
  const found = new Set<BufferId>();
  const visit = (part: unknown): void => {
    if (Array.isArray(part)) for (const item of part) visit(item);
    else if (typeof part === 'object' && part !== null) {
      if ('buffer' in part && typeof part.buffer === 'number') found.add(part.buffer);
      else for (const item of Object.values(part)) visit(item);
    }
  };
  visit(operation);
  return found;
}
