/** Assigns every value that crosses a segment to a buffer; buffers are reused once their value has been read for the last time. */
import type { Plan } from '../../engine/index.js';
import type { ValueId } from '../../graph/index.js';

export class BufferPlan {
  /** Bytes of each buffer. */
  readonly sizes: readonly number[];
  readonly #buffers = new Map<ValueId, number>();

  constructor(plan: Plan, sizeOf: (value: ValueId) => number) {
    const sizes: number[] = [];
    const free: number[] = [];
    const place = (value: ValueId): void => {
      const bytes = sizeOf(value);
      const buffer = takeBestFit(free, sizes, bytes) ?? sizes.push(0) - 1;
      sizes[buffer] = Math.max(sizes[buffer] ?? 0, bytes);
      this.#buffers.set(value, buffer);
    };
    // Inputs keep their buffers: the executor writes only those that changed since the last run.
    const kept = new Set([...plan.graph.inputs, ...plan.graph.outputs].map(({ value }) => value));
    for (const { value } of plan.graph.inputs) place(value);

    const uses = plan.steps.map((step) => (step.kind === 'exchange' ? step.node : plan.segments[step.segment]));
    const lastRead = new Map<ValueId, number>();
    uses.forEach((use, index) => {
      for (const value of valuesOf(use?.inputs ?? [])) lastRead.set(value, index);
    });
    uses.forEach((use, index) => {
      for (const value of valuesOf(use?.outputs ?? [])) place(value);
      for (const [value, last] of lastRead) {
        const buffer = this.#buffers.get(value);
        if (last === index && !kept.has(value) && buffer !== undefined) free.push(buffer);
      }
    });
    this.sizes = sizes;
  }

  of(value: ValueId): number {
    const buffer = this.#buffers.get(value);
    if (buffer === undefined) throw new Error(`value %${String(value)} has no buffer`);
    return buffer;
  }
}

function valuesOf(uses: readonly (ValueId | { readonly value: ValueId })[]): ValueId[] {
  return uses.map((use) => (typeof use === 'number' ? use : use.value));
}

/** The smallest free buffer that holds `bytes`, else the largest free one, which then grows. */
function takeBestFit(free: number[], sizes: readonly number[], bytes: number): number | undefined {
  const bySize = free.toSorted((a, b) => (sizes[a] ?? 0) - (sizes[b] ?? 0));
  const chosen = bySize.find((buffer) => (sizes[buffer] ?? 0) >= bytes) ?? bySize.at(-1);
  if (chosen !== undefined) free.splice(free.indexOf(chosen), 1);
  return chosen;
}
