/**
 * The worker thread that owns ONNX Runtime: its calls block, and here they block neither heartbeats nor gRPC. It follows a
 * schedule step by step, sleeping on an atomic word while the main thread exchanges payloads with peers.
 */
import { parentPort } from 'node:worker_threads';
import { Tensor as OrtTensor } from 'onnxruntime-node';
import { clockMicros, type RunSpan } from '../../engine/index.js';
import { toSdxlError } from '../../errors/index.js';
import { Handover } from './handover.js';
import type { Binding, Schedule, SegmentStep } from './schedule.js';
import { OpenSessions } from './sessions.js';
import type { LoadRequest, RunRequest, SharedMemory, WireTensor, WorkerReply, WorkerRequest } from './worker-protocol.js';

type Feeds = Record<string, OrtTensor>;

/** A schedule with its buffers and the tensors over them, made once and used by every run at these sizes. */
class BoundSchedule {
  readonly schedule: Schedule;
  readonly buffers: readonly ArrayBuffer[];
  /** Undefined where the plan has no exchanges. */
  readonly handover: Handover | undefined;
  readonly #feeds = new Map<SegmentStep, { readonly feeds: Feeds; readonly fetches: Feeds }>();

  constructor(schedule: Schedule, shared: SharedMemory | undefined) {
    this.schedule = schedule;
    this.handover = shared === undefined ? undefined : new Handover(shared, schedule.exchanges, (buffer) => this.bytes(buffer));
    // Rounded up so that views of any element type fit.
    this.buffers = schedule.bufferBytes.map((bytes) => new ArrayBuffer(Math.ceil(bytes / 8) * 8));
    for (const step of schedule.steps) {
      if (step.kind !== 'segment') continue;
      const feeds = this.#tensors(step.feeds);
      for (const { name, values } of step.sizes) feeds[name] = new OrtTensor('int64', BigInt64Array.from(values, BigInt), [values.length]);
      this.#feeds.set(step, { feeds, fetches: this.#tensors(step.fetches) });
    }
  }

  of(step: SegmentStep): { readonly feeds: Feeds; readonly fetches: Feeds } {
    const bound = this.#feeds.get(step);
    if (bound === undefined) throw new Error('a segment of another schedule');
    return bound;
  }

  bytes(buffer: number): Uint8Array {
    const memory = this.buffers[buffer];
    if (memory === undefined) throw new Error(`no buffer ${String(buffer)}`);
    return new Uint8Array(memory);
  }

  write(input: WireTensor): void {
    const target = this.schedule.inputs.find(({ name }) => name === input.name);
    if (target === undefined) throw new Error(`no input ${input.name}`);
    this.bytes(target.buffer).set(new Uint8Array(input.data.buffer, input.data.byteOffset, input.data.byteLength));
  }

  read(output: Binding): WireTensor {
    const { name, dtype, shape } = output;
    const elements = shape.reduce((product, dim) => product * dim, 1);
    const memory = this.buffers[output.buffer] ?? new ArrayBuffer(0);
    if (dtype === 'i64') return { name, dtype, shape, data: new BigInt64Array(memory, 0, elements).slice() };
    return { name, dtype, shape, data: new Float32Array(memory, 0, elements).slice() };
  }

  #tensors(bindings: readonly Binding[]): Feeds {
    return Object.fromEntries(
      bindings.map(({ name, buffer, dtype, shape }) => {
        const memory = this.buffers[buffer] ?? new ArrayBuffer(0);
        const elements = shape.reduce((product, dim) => product * dim, 1);
        const view =
          dtype === 'i64'
            ? new OrtTensor('int64', new BigInt64Array(memory, 0, elements), shape)
            : new OrtTensor('float32', new Float32Array(memory, 0, elements), shape);
        return [name, view];
      }),
    );
  }
}

const executors = new Map<number, { readonly sessions: OpenSessions; bound?: BoundSchedule }>();

async function load(request: LoadRequest): Promise<void> {
  executors.set(request.executor, { sessions: await OpenSessions.open(request) });
}

async function run(request: RunRequest): Promise<{ reply: WorkerReply; transfer: ArrayBuffer[] }> {
  const executor = executors.get(request.executor);
  if (executor === undefined) throw new Error(`executor ${String(request.executor)} is not loaded`);
  if (request.schedule !== undefined) executor.bound = new BoundSchedule(request.schedule, request.shared);
  const { bound, sessions } = executor;
  if (bound === undefined) throw new Error('the first run carries no schedule');
  for (const input of request.inputs) bound.write(input);

  const spans: RunSpan[] | undefined = request.traced ? [] : undefined;
  const [started, startedAt] = [performance.now(), clockMicros()];
  let exchangeMs = 0;
  let [exchanges, sentBytes] = [0, 0];
  const { handover, schedule } = bound;
  try {
    for (const step of schedule.steps) {
      if (step.kind === 'segment') {
        const { feeds, fetches } = bound.of(step);
        const start = clockMicros();
        await sessions.run(step.segment, feeds, fetches);
        spans?.push({ name: `segment ${String(step.segment)}`, start, end: clockMicros() });
        continue;
      }
      const before = performance.now();
      if (handover === undefined) throw new Error('an exchange without a shared area');
      const sent = handover.exchange(step, request.displaced, spans);
      exchangeMs += performance.now() - before;
      if (!sent) continue;
      exchanges++;
      sentBytes += step.sends.reduce((sum, { bytes }) => sum + bytes, 0);
    }
  } finally {
    handover?.finish();
  }
  const totalSeconds = (performance.now() - started) / 1000;
  const exchangeSeconds = exchangeMs / 1000;
  spans?.push({ name: sessions.name, start: startedAt, end: clockMicros() });
  const outputs = schedule.outputs.map((output) => bound.read(output));
  return {
    reply: {
      kind: 'ran',
      id: request.id,
      outputs,
      timing: { totalSeconds, computeSeconds: totalSeconds - exchangeSeconds, exchangeSeconds, exchanges, sentBytes },
      spans: spans ?? [],
    },
    transfer: outputs.map(({ data }) => data.buffer).filter((buffer) => buffer instanceof ArrayBuffer),
  };
}

async function handle(request: WorkerRequest): Promise<void> {
  const port = parentPort;
  if (port === null) throw new Error('this module is a worker');
  try {
    switch (request.kind) {
      case 'load':
        await load(request);
        break;
      case 'unload':
        await executors.get(request.executor)?.sessions.close();
        executors.delete(request.executor);
        break;
      case 'run': {
        const { reply, transfer } = await run(request);
        port.postMessage(reply, transfer);
        return;
      }
    }
    port.postMessage({ kind: 'done', id: request.id } satisfies WorkerReply);
  } catch (error) {
    port.postMessage({ kind: 'failed', id: request.id, error: toSdxlError(error).toJSON() } satisfies WorkerReply);
  }
}

// One request at a time: the main thread waits for each reply.
parentPort?.on('message', (request: WorkerRequest) => {
  void handle(request);
});
