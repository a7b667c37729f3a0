/** Runs one engine on the worker and answers its exchange requests with the communicator. */
import type { Communicator } from '../../collectives/communicator.js';
import { bindSymbols, type DisplacedRuns, type Executor, type Plan, type RunResult, type RunSpan } from '../../engine/index.js';
import { toSdxlError } from '../../errors/index.js';
import type { CollectiveLabel, Displacement } from '../../graph/index.js';
import { tensor, type Tensor } from '../../tensor/index.js';
import { ExchangeServer } from './exchange-server.js';
import type { ShapeInput } from './lower.js';
import { schedulePlan, type Groups, type Schedule } from './schedule.js';
import type { RunRequest, WireTensor } from './worker-protocol.js';
import type { WorkerClient } from './worker-client.js';

/** Everything that depends on the sizes of a run. */
interface Sized {
  readonly key: string;
  readonly schedule: Schedule;
  /** Undefined where the plan has no exchanges. */
  readonly server: ExchangeServer | undefined;
}

export interface OnnxExecutorOptions {
  readonly id: number;
  readonly plan: Plan;
  readonly shapeInputs: readonly (readonly ShapeInput[])[];
  readonly groups: Groups;
  readonly worker: WorkerClient;
  readonly communicator: Communicator;
  /** Told after each run what it did when. */
  readonly onSpans: ((spans: readonly RunSpan[]) => void) | undefined;
}

export class OnnxExecutor implements Executor {
  readonly plan: Plan;
  readonly #options: OnnxExecutorOptions;
  #sized: Sized | undefined;
  #sent = new Map<string, Tensor>();
  /** Whether the runs of an image are open. */
  #isDisplaced = false;
  #closed = false;

  constructor(options: OnnxExecutorOptions) {
    this.plan = options.plan;
    this.#options = options;
  }

  async run(inputs: Readonly<Record<string, Tensor>>, signal?: AbortSignal): Promise<RunResult> {
    return this.#run(inputs, this.#sizesOf(inputs), undefined, signal);
  }

  displace(displacement: Displacement): DisplacedRuns {
    const { name } = this.plan.graph;
    if (this.#isDisplaced) throw new Error(`the runs of an image before have not ended at ${name}`);
    this.#isDisplaced = true;
    const { timing } = displacement;
    const kept = new Set((Object.keys(timing) as CollectiveLabel[]).filter((label) => timing[label] !== 'fresh'));
    let sized: Sized | undefined;
    return {
      run: async (inputs, kind, signal) => {
        if (!this.#isDisplaced) throw new Error(`the runs of ${name} have ended`);
        if (sized === undefined && kind !== 'fresh') throw new Error(`the first run of an image at ${name} must be fresh`);
        const here = this.#sizesOf(inputs, kept);
        if (sized !== undefined && here.sized !== sized) throw new Error(`${name} runs at another size than before in this image`);
        sized = here.sized;
        return this.#run(inputs, here, kind === 'fresh' ? undefined : { displacement, last: kind === 'last' }, signal);
      },
      end: async () => {
        await sized?.server?.drain();
        this.#isDisplaced = false;
      },
    };
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    await this.#options.worker.request({ kind: 'unload', executor: this.#options.id });
  }

  async #run(
    inputs: Readonly<Record<string, Tensor>>,
    { sized, isNew }: { readonly sized: Sized; readonly isNew: boolean },
    displaced: RunRequest['displaced'],
    signal: AbortSignal | undefined,
  ): Promise<RunResult> {
    signal?.throwIfAborted();
    if (this.#closed) throw new Error(`${this.plan.graph.name} is closed`);
    if (isNew) this.#sent = new Map();
    const changed: WireTensor[] = [];
    for (const { name } of this.plan.graph.inputs) {
      const input = inputs[name];
      if (input !== undefined && this.#sent.get(name) !== input)
        changed.push({ name, dtype: input.dtype, shape: input.shape, data: input.data });
    }
    const { worker, id, onSpans } = this.#options;
    const { server, schedule } = sized;
    const reply = worker.request({
      kind: 'run',
      executor: id,
      inputs: changed,
      ...(isNew ? { schedule, ...(server === undefined ? {} : { shared: server.shared }) } : {}),
      ...(displaced === undefined ? {} : { displaced }),
      traced: onSpans !== undefined,
    });
    // The exchange's own error says who failed; the worker only learns that it did.
    const [ran, served] = await Promise.allSettled([reply, server?.serve(reply, signal)]);
    if (served.status === 'rejected') throw toSdxlError(served.reason);
    if (ran.status === 'rejected') throw toSdxlError(ran.reason);
    if (ran.value.kind !== 'ran') throw new Error(`the worker answered a run with ${ran.value.kind}`);
    this.#sent = new Map(Object.entries(inputs));
    const { outputs, timing, spans } = ran.value;
    onSpans?.(spans);
    return { outputs: Object.fromEntries(outputs.map(({ name, dtype, shape, data }) => [name, tensor(dtype, shape, data)])), timing };
  }

  #sizesOf(
    inputs: Readonly<Record<string, Tensor>>,
    kept: ReadonlySet<CollectiveLabel> = new Set(),
  ): { readonly sized: Sized; readonly isNew: boolean } {
    const { plan, shapeInputs, groups, communicator } = this.#options;
    const symbols = bindSymbols(plan.graph, Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape])));
    const key = JSON.stringify([symbols, [...kept].sort()]);
    if (this.#sized?.key === key) return { sized: this.#sized, isNew: false };
    const schedule = schedulePlan(plan, shapeInputs, symbols, groups, kept);
    const server = schedule.exchanges === 0 ? undefined : new ExchangeServer(schedule, communicator);
    this.#sized = { key, schedule, server };
    return { sized: this.#sized, isNew: true };
  }
}
