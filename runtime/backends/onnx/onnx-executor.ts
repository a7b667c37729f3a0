/** Runs one engine on the worker and answers its exchange requests with the communicator. */
import type { Communicator, Exchange, Message } from '../../collectives/communicator.js';
import { bindSymbols, type Executor, type Plan, type RunResult } from '../../engine/index.js';
import { toSdxlError } from '../../errors/index.js';
import { tensor, type Tensor } from '../../tensor/index.js';
import type { ShapeInput } from './lower.js';
import { schedulePlan, type Groups, type Range, type Schedule } from './schedule.js';
import { control, exchangeStatus, noMoreExchanges, type WireTensor } from './worker-protocol.js';
import type { WorkerClient } from './worker-client.js';

/** Everything that depends on the sizes of a run. */
interface Sized {
  readonly key: string;
  readonly schedule: Schedule;
  readonly shared?: { readonly control: SharedArrayBuffer; readonly payload: SharedArrayBuffer };
  /** The communicator's view of each exchange step, by step index. */
  readonly exchanges: ReadonlyMap<number, Exchange>;
}

export interface OnnxExecutorOptions {
  readonly id: number;
  readonly plan: Plan;
  readonly shapeInputs: readonly (readonly ShapeInput[])[];
  readonly groups: Groups;
  readonly worker: WorkerClient;
  readonly communicator: Communicator;
}

export class OnnxExecutor implements Executor {
  readonly plan: Plan;
  readonly #options: OnnxExecutorOptions;
  #sized: Sized | undefined;
  #sent = new Map<string, Tensor>();
  #closed = false;

  constructor(options: OnnxExecutorOptions) {
    this.plan = options.plan;
    this.#options = options;
  }

  async run(inputs: Readonly<Record<string, Tensor>>, signal?: AbortSignal): Promise<RunResult> {
    signal?.throwIfAborted();
    if (this.#closed) throw new Error(`${this.plan.graph.name} is closed`);
    const { sized, isNew } = this.#sizesOf(inputs);
    if (isNew) this.#sent = new Map();
    const changed: WireTensor[] = [];
    for (const { name } of this.plan.graph.inputs) {
      const input = inputs[name];
      if (input !== undefined && this.#sent.get(name) !== input)
        changed.push({ name, dtype: input.dtype, shape: input.shape, data: input.data });
    }
    const { worker, id } = this.#options;
    if (sized.shared !== undefined) new Int32Array(sized.shared.control).fill(0);
    const reply = worker.request({
      kind: 'run',
      executor: id,
      inputs: changed,
      ...(isNew ? { schedule: sized.schedule } : {}),
      ...(sized.shared === undefined ? {} : { shared: sized.shared }),
    });
    const exchanged = this.#serveExchanges(sized, reply, signal);
    // The exchange's own error says who failed; the worker only learns that it did.
    const [ran, served] = await Promise.allSettled([reply, exchanged]);
    if (served.status === 'rejected') throw toSdxlError(served.reason);
    if (ran.status === 'rejected') throw toSdxlError(ran.reason);
    if (ran.value.kind !== 'ran') throw new Error(`the worker answered a run with ${ran.value.kind}`);
    this.#sent = new Map(Object.entries(inputs));
    const { outputs, timing } = ran.value;
    return { outputs: Object.fromEntries(outputs.map(({ name, dtype, shape, data }) => [name, tensor(dtype, shape, data)])), timing };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#options.worker.request({ kind: 'unload', executor: this.#options.id });
  }

  /** Waits for the worker's requests until the run ends; an error ends the run on both sides. */
  async #serveExchanges(sized: Sized, reply: Promise<unknown>, signal: AbortSignal | undefined): Promise<void> {
    if (sized.shared === undefined) return;
    const words = new Int32Array(sized.shared.control);
    const ended = reply.then(
      () => 'ended' as const,
      () => 'ended' as const,
    );
    let answered = 0;
    for (;;) {
      // `requested` runs one ahead of `completed` while the worker waits.
      const wait = Atomics.waitAsync(words, control.requested, answered);
      const outcome = wait.async ? await Promise.race([wait.value, ended]) : wait.value;
      // A notification may come late, after the request it tells of was seen and answered: it is no second request.
      if (outcome !== 'ended' && Atomics.load(words, control.requested) === answered) continue;
      const step = Atomics.load(words, control.step);
      if (outcome === 'ended' || step === noMoreExchanges) {
        Atomics.store(words, control.completed, Atomics.load(words, control.requested));
        return;
      }
      const exchange = sized.exchanges.get(step);
      try {
        if (exchange === undefined) throw new Error(`the worker asked for unknown exchange ${String(step)}`);
        await this.#options.communicator.exchange(exchange, signal);
        answered = answer(words, exchangeStatus.ok);
      } catch (error) {
        answer(words, exchangeStatus.failed);
        throw error;
      }
    }
  }

  #sizesOf(inputs: Readonly<Record<string, Tensor>>): { readonly sized: Sized; readonly isNew: boolean } {
    const { plan, shapeInputs, groups } = this.#options;
    const symbols = bindSymbols(plan.graph, Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape])));
    const key = JSON.stringify(symbols);
    if (this.#sized?.key === key) return { sized: this.#sized, isNew: false };
    const schedule = schedulePlan(plan, shapeInputs, symbols, groups);
    this.#sized = { key, schedule, ...shareExchanges(schedule) };
    return { sized: this.#sized, isNew: true };
  }
}

function answer(words: Int32Array, status: number): number {
  Atomics.store(words, control.status, status);
  const completed = Atomics.add(words, control.completed, 1) + 1;
  Atomics.notify(words, control.completed);
  return completed;
}

function shareExchanges(schedule: Schedule): Pick<Sized, 'shared' | 'exchanges'> {
  const exchanges = new Map<number, Exchange>();
  const payload = new SharedArrayBuffer(Math.max(schedule.sharedBytes, 16));
  for (const [index, step] of schedule.steps.entries()) {
    if (step.kind !== 'exchange') continue;
    const messages = (ranges: readonly Range[]): Message[] => {
      const peers = [...new Set(ranges.map(({ peer }) => peer))];
      return peers.map((peer) => ({
        peer,
        parts: ranges.filter((range) => range.peer === peer).map(({ offset, bytes }) => new Uint8Array(payload, offset, bytes)),
      }));
    };
    exchanges.set(index, { operation: step.label, tag: step.tag, sends: messages(step.sends), receives: messages(step.receives) });
  }
  if (exchanges.size === 0) return { exchanges };
  const words = new SharedArrayBuffer(control.words * Int32Array.BYTES_PER_ELEMENT);
  return { exchanges, shared: { control: words, payload } };
}
