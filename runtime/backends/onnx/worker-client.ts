/** The main thread's handle on the ONNX worker: requests with replies, in order, and one place that notices its death. */
import { Worker } from 'node:worker_threads';
import { SdxlError, toSdxlError } from '../../errors/index.js';
import { silenceTelemetry } from './telemetry.js';
import type { LoadRequest, RunRequest, UnloadRequest, WorkerReply } from './worker-protocol.js';

type WithoutId<T> = T extends unknown ? Omit<T, 'id'> : never;

export class WorkerClient {
  readonly #worker: Worker;
  readonly #pending = new Map<number, { resolve: (reply: WorkerReply) => void; reject: (error: SdxlError) => void }>();
  #nextId = 0;
  #ended: SdxlError | undefined;
  #last: Promise<unknown> = Promise.resolve();

  constructor() {
    silenceTelemetry();
    this.#worker = new Worker(new URL('./worker.js', import.meta.url));
    this.#worker.on('message', (reply: WorkerReply) => {
      const waiter = this.#pending.get(reply.id);
      this.#pending.delete(reply.id);
      if (reply.kind === 'failed') waiter?.reject(SdxlError.fromJSON(reply.error));
      else waiter?.resolve(reply);
    });
    this.#worker.on('error', (error) => {
      this.#end(toSdxlError(error));
    });
    this.#worker.on('exit', (code) => {
      this.#end(new SdxlError('ENGINE_RUN_FAILED', `the ONNX worker ended with code ${String(code)}`, { fields: { code } }));
    });
  }

  /** Sends a request once the one before is answered; `transfer` moves buffers instead of copying them. */
  request(request: WithoutId<LoadRequest | RunRequest | UnloadRequest>): Promise<WorkerReply> {
    const reply = this.#last.then(() => this.#post(request));
    this.#last = reply.catch(() => undefined);
    return reply;
  }

  /** Ends the worker after the request in flight: terminating it inside a native call would abort the process. */
  async close(): Promise<void> {
    await this.#last;
    await this.#worker.terminate();
  }

  async #post(request: WithoutId<LoadRequest | RunRequest | UnloadRequest>): Promise<WorkerReply> {
    if (this.#ended !== undefined) throw this.#ended;
    const id = this.#nextId++;
    return await new Promise<WorkerReply>((resolve, reject) => {
      this.#pending.set(id, { resolve, reject });
      this.#worker.postMessage({ ...request, id });
    });
  }

  #end(error: SdxlError): void {
    this.#ended ??= error;
    for (const { reject } of this.#pending.values()) reject(this.#ended);
    this.#pending.clear();
  }
}
