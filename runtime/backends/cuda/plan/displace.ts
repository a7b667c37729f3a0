/**
 * The step after the warm-up, where patches are displaced (Li et al. 2024, DistriFusion, section 4): from a synchronous step to one in which
 * exchanges that may lag are sent ahead for the next step, and what peers sent in the step before is read in their place.
 *
 * What is gathered lies in two halves. A step reads one, in which this rank's own part is fresh and the peers' are those of the step before;
 * it sends its own part from there, and receives into the other half, which the next step reads. Synchronous steps use the first half, so
 * that the first displaced step finds there what it needs. Both displaced steps are one list of operations, bound to either half.
 */
import type { Displacement } from '../../../graph/index.js';
import { buffersOf } from './memory.js';
import type { Move, Operation, OperationOf } from './operations.js';
import type { BufferSpec, Program } from './program.js';
import { elementBytes, matrixView, product, sliceView, stridesInOrder, type BufferId, type View } from './view.js';

export interface PlanDisplacement {
  readonly displacement: Displacement;
  /** This rank's place in its patch group. */
  readonly position: number;
}

type Planned = Omit<Program, 'memory' | 'displaced'>;

/** Of all bytes that are sent ahead, what one group of messages carries: few groups, since each takes a launch and multiprocessors. */
const groupShare = 1 / 8;
/** Groups become smaller towards the end of a step, which waits for the last one; not smaller than this. */
const leastGroupBytes = 1 << 20;

/** The program with its displaced step, and its buffers with what they keep. */
export function displaceProgram(program: Planned, options: PlanDisplacement): Omit<Program, 'memory'> {
  const pass = new Displacing(program, options);
  const displaced = pass.run();
  return { ...program, buffers: pass.buffers, displaced };
}

class Displacing {
  readonly buffers: BufferSpec[];
  readonly #program: Planned;
  readonly #displacement: Displacement;
  readonly #position: number;
  readonly #operations: Operation[] = [];
  /** Gathered moments → what takes their place. */
  readonly #joined = new Map<BufferId, View>();
  /** How many operations of the step touch a buffer. */
  readonly #touches = new Map<BufferId, number>();
  /** Where in the list a product stands, by the buffer it fills. */
  readonly #products = new Map<BufferId, number>();
  /** Rows that are made for an exchange that is not sent. */
  readonly #unsent = new Set<BufferId>();
  #waiting: Move[] = [];
  #waitingBytes = 0;
  #remainingBytes = 0;
  #totalBytes = 0;

  constructor(program: Planned, { displacement, position }: PlanDisplacement) {
    this.#program = program;
    this.buffers = [...program.buffers];
    this.#displacement = displacement;
    this.#position = position;
  }

  run(): readonly Operation[] {
    const { step } = this.#program.operations;
    for (const operation of step) {
      for (const buffer of buffersOf(operation)) this.#touches.set(buffer, (this.#touches.get(buffer) ?? 0) + 1);
      if (operation.kind === 'collective' && this.#timing(operation) === 'stale') {
        for (const move of operation.payloads) this.#totalBytes += this.#isSent(move) ? bytesOf(move.from) : 0;
      }
    }
    this.#remainingBytes = this.#totalBytes;
    let ranks = 1;
    for (const operation of step) {
      if (operation.kind === 'collective' && this.#timing(operation) !== 'fresh') {
        ranks = operation.ranks;
        this.#lag(operation);
      } else if (operation.kind === 'groupNormalize') this.#operations.push(this.#normalize(operation));
      else this.#operations.push(operation);
      if (operation.kind === 'gemm') this.#products.set(operation.y.buffer, this.#operations.length - 1);
    }
    this.#send(ranks);
    return this.#operations.filter((operation) => operation.kind !== 'boundaryRows' || !this.#unsent.has(operation.y.buffer));
  }

  #timing({ label }: OperationOf<'collective'>): 'fresh' | 'stale' | 'frozen' {
    return this.#displacement.timing[label];
  }

  #isSent({ payload }: Move): boolean {
    return payload.kind !== 'moments' || this.#displacement.moments !== 'own';
  }

  #lag(operation: OperationOf<'collective'>): void {
    const timing = this.#timing(operation);
    const kept = timing === 'stale' ? 'twice' : 'once';
    for (const move of operation.payloads) {
      const { payload, from, to } = move;
      if (payload.kind === 'moments' && this.#displacement.moments === 'own') {
        this.#joined.set(to.buffer, from);
        continue;
      }
      this.#keep(to.buffer, kept);
      if (payload.kind === 'neighbors') {
        if (timing === 'frozen') this.#unsent.add(from.buffer);
        // It is sent while later operations run: nobody may write over it in this step.
        else this.#keep(from.buffer, 'once');
        this.#wait(operation, move);
        continue;
      }
      const axis = payload.kind === 'moments' ? 0 : payload.axis;
      const size = from.shape[axis] ?? 1;
      const own = sliceView(to, axis, this.#position * size, (this.#position + 1) * size);
      if (payload.kind === 'moments') this.#join(operation, from, to);
      else this.#place(operation, from, own);
      this.#wait(operation, { payload, from: own, to });
    }
  }

  #join({ name, ranks, label }: OperationOf<'collective'>, own: View, held: View): void {
    const { timing, moments: rule } = this.#displacement;
    if (rule === 'own' || timing[label] === 'frozen') throw new Error(`${name}: moments by rule ${rule} where they are ${timing[label]}`);
    const order = own.shape.map((_, axis) => axis);
    const y: View = { buffer: this.buffers.length, offset: 0, type: 'f32', shape: own.shape, strides: stridesInOrder(own.shape, order) };
    this.buffers.push({ type: 'f32', elements: product(own.shape), role: 'operation' });
    this.#joined.set(held.buffer, y);
    this.#operations.push({ kind: 'joinMoments', name, own, held, ranks, position: this.#position, rule, y });
  }

  /** Own keys and values among those of the peers: written there by their product where its rows can lie so, else copied. */
  #place({ name }: OperationOf<'collective'>, from: View, own: View): void {
    const at = this.#products.get(from.buffer);
    const made = at === undefined ? undefined : this.#operations[at];
    const y = matrixView(own);
    const isWhole = made?.kind === 'gemm' && !made.accumulate && made.y.rows * made.y.columns === product(from.shape);
    const isRead = this.#touches.get(from.buffer) !== 2;
    if (at !== undefined && isWhole && y?.columns === made.y.columns && !isRead) this.#operations[at] = { ...made, y };
    else this.#operations.push({ kind: 'pointwise', name: `${name}.own`, function: 'copy', x: from, y: own });
  }

  #normalize(operation: OperationOf<'groupNormalize'>): OperationOf<'groupNormalize'> {
    const moments = this.#joined.get(operation.moments.buffer);
    return moments === undefined ? operation : { ...operation, moments, ranks: 1 };
  }

  #wait(operation: OperationOf<'collective'>, move: Move): void {
    if (this.#timing(operation) !== 'stale') return;
    const bytes = bytesOf(move.from);
    this.#waiting.push(move);
    this.#waitingBytes += bytes;
    this.#remainingBytes -= bytes;
    const isFull = this.#waitingBytes >= this.#totalBytes * groupShare;
    const isLate = this.#waitingBytes >= Math.max(leastGroupBytes, this.#remainingBytes);
    if (isFull || isLate) this.#send(operation.ranks);
  }

  #send(ranks: number): void {
    if (this.#waiting.length === 0) return;
    const name = `${this.#program.name}.ahead`;
    this.#operations.push({ kind: 'sendAhead', name, ranks, position: this.#position, payloads: this.#waiting });
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  #keep(buffer: BufferId, kept: 'once' | 'twice'): void {
    const spec = this.buffers[buffer];
    if (spec !== undefined) this.buffers[buffer] = { ...spec, kept };
  }
}

function bytesOf(view: View): number {
  return product(view.shape) * elementBytes[view.type];
}
