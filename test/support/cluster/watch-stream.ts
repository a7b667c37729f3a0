/** One watch that passes through a proxy: whole events, which can be held back, ended, or cut off. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { ApiCall } from './api-call.js';

const expired = {
  type: 'ERROR',
  object: {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: 'too old resource version',
    reason: 'Expired',
    code: 410,
  },
};

export class WatchStream {
  readonly call: ApiCall;
  readonly #upstream: IncomingMessage;
  readonly #response: ServerResponse;
  #partial = Buffer.alloc(0);
  #held: Buffer[] | undefined;

  constructor(call: ApiCall, upstream: IncomingMessage, response: ServerResponse) {
    this.call = call;
    this.#upstream = upstream;
    this.#response = response;
  }

  /** Resolves when either side has ended it. */
  async run(): Promise<void> {
    this.#response.once('close', () => this.#upstream.destroy());
    try {
      for await (const chunk of this.#upstream) this.#pass(chunk as Buffer);
      this.end();
    } catch {
      this.cut(); // One of the two sides broke.
    }
  }

  cut(): void {
    this.#response.destroy();
    this.#upstream.destroy();
  }

  end(): void {
    if (!this.#response.destroyed) this.#response.end();
    this.#upstream.destroy();
  }

  expire(): void {
    this.#response.write(`${JSON.stringify(expired)}\n`);
    this.end();
  }

  pause(): void {
    this.#held ??= [];
  }

  resume(): void {
    for (const events of this.#held ?? []) this.#response.write(events);
    this.#held = undefined;
  }

  #pass(chunk: Buffer): void {
    const data = Buffer.concat([this.#partial, chunk]);
    const whole = data.lastIndexOf('\n') + 1;
    this.#partial = data.subarray(whole);
    if (whole === 0) return;
    const events = data.subarray(0, whole);
    if (this.#held === undefined) this.#response.write(events);
    else this.#held.push(events);
  }
}
