/** A program: the operations of a graph for one set of sizes, the buffers they use and the weights they read. */
import type { Operation, Stage } from './operations.js';
import type { BufferId, ElementType, View } from './view.js';

/**
 * The device form of weights:
 * - `kernel`: `[Σ out, kh, kw, in]` in the half type, several tensors stacked along `out`, each axis of channels padded with zeros.
 * - `vector`: one or several tensors end to end, padded with zeros.
 * - `table`: as stored, in the half type.
 */
export type WeightForm =
  | {
      readonly form: 'kernel';
      readonly keys: readonly string[];
      readonly outs: readonly number[];
      readonly inputs: number;
      readonly height: number;
      readonly width: number;
      /** Logical ranks: linear weights have two axes, convolutions four. */
      readonly axes: 2 | 4;
      readonly paddedOut: number;
      readonly paddedInputs: number;
    }
  | { readonly form: 'vector'; readonly keys: readonly string[]; readonly sizes: readonly number[]; readonly padded: number }
  | { readonly form: 'table'; readonly keys: readonly string[]; readonly shape: readonly number[] };

export interface BufferSpec {
  readonly type: ElementType;
  readonly elements: number;
  /** What fills it: a weight once, the caller before a run, or operations. */
  readonly role: 'weight' | 'input' | 'operation';
  readonly weight?: WeightForm;
  /**
   * What displaced steps leave to each other. `twice`: in two halves, of which steps take turns to read one and to receive into the other.
   * Undefined: nothing.
   */
  readonly kept?: 'once' | 'twice';
}

export interface ProgramValue {
  readonly name: string;
  readonly view: View;
  /** The graph's own shape: channels of the view may be padded. */
  readonly shape: readonly number[];
}

export interface Program {
  readonly name: string;
  readonly buffers: readonly BufferSpec[];
  readonly inputs: readonly ProgramValue[];
  readonly outputs: readonly ProgramValue[];
  readonly operations: Readonly<Record<Stage, readonly Operation[]>>;
  /** The step after the warm-up, where patches are displaced. */
  readonly displaced: readonly Operation[] | undefined;
  /** Where each `operation` buffer lies; see plan/memory.ts. */
  readonly memory: MemoryPlan;
}

/** The synchronous step, or the displaced one that reads this half of what steps leave to each other. */
export type StepForm = 'synchronous' | 0 | 1;

/** The displaced steps in the order in which they take turns after a synchronous one. */
export function displacedForms({ displaced, memory }: Program): readonly (0 | 1)[] {
  if (displaced === undefined) return [];
  return memory.halfBytes === 0 ? [0] : [0, 1];
}

export interface MemoryPlan {
  /** Byte offset in the arena, which stages share one after the other, in the persistent block, or in either half of the halved one. */
  readonly places: ReadonlyMap<BufferId, { readonly block: 'arena' | 'persistent' | 'halved'; readonly offset: number }>;
  readonly arenaBytes: number;
  readonly persistentBytes: number;
  /** Of one half. */
  readonly halfBytes: number;
}
