/**
 * Calls to the API server: JSON over kept-alive connections, each call with a deadline, all of them rate limited. Knows paths and verbs, no kinds.
 * A call that was answered 429 is made again when the server allows; every other failure is the caller's to judge.
 */
import { Agent as HttpAgent, request as requestHttp, type IncomingMessage } from 'node:http';
import { Agent as HttpsAgent, request as requestHttps } from 'node:https';
import { setTimeout as delay } from 'node:timers/promises';
import { ApiError } from './api-error.js';
import type { Connection, TlsOptions } from './connection.js';
import { apiVersionOf, pathOf, type KubeObject, type Resource } from './objects.js';
import type { RateLimiter } from './rate-limiter.js';
import { ServerClock } from './server-clock.js';

export interface ClientOptions {
  readonly connection: Connection;
  readonly limiter: RateLimiter;
  /** Whose fields server-side apply writes. */
  readonly fieldManager: string;
  readonly userAgent: string;
  readonly deadlineMs?: number;
  /** Asked before each write: how long it may take, or 0 where this process must not write. */
  readonly mayWriteForMs?: () => number;
  readonly observer?: (call: CallFacts) => void;
}

export interface CallFacts {
  readonly verb: string;
  readonly path: string;
  /** 0: no answer. */
  readonly status: number;
  readonly seconds: number;
}

export interface Call {
  readonly verb: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | undefined>>;
  readonly body?: unknown;
  readonly contentType?: string;
  readonly signal: AbortSignal;
}

export interface ApplyOptions {
  readonly subresource?: 'status';
  readonly fieldManager?: string;
  readonly signal: AbortSignal;
}

const defaultDeadlineMs = 15_000;
const maxThrottled = 5;
const applyPatch = 'application/apply-patch+yaml';

export class ApiClient implements Disposable {
  readonly limiter: RateLimiter;
  readonly clock = new ServerClock();
  readonly #options: ClientOptions;
  readonly #deadlineMs: number;
  #agent: { readonly tls: TlsOptions; readonly agent: HttpAgent | HttpsAgent } | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.limiter = options.limiter;
    this.#deadlineMs = options.deadlineMs ?? defaultDeadlineMs;
  }

  async get<T extends KubeObject>(resource: Resource, namespace: string, name: string, signal: AbortSignal): Promise<T | undefined> {
    try {
      return await this.call<T>({ verb: 'GET', path: pathOf(resource, namespace, name), signal });
    } catch (error) {
      if (error instanceof ApiError && error.isNotFound) return undefined;
      throw error;
    }
  }

  /** Server-side apply; takes fields from other managers. */
  async apply<T extends KubeObject>(resource: Resource, object: T, options: ApplyOptions): Promise<T> {
    const { namespace, name } = object.metadata;
    const path = pathOf(resource, namespace, name);
    return this.call<T>({
      verb: 'PATCH',
      path: options.subresource === undefined ? path : `${path}/${options.subresource}`,
      query: { fieldManager: options.fieldManager ?? this.#options.fieldManager, force: 'true' },
      body: { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object },
      contentType: applyPatch,
      signal: options.signal,
    });
  }

  /** @param dryRun nothing is made: the server says whether it would be */
  async create<T extends KubeObject>(resource: Resource, object: T, signal: AbortSignal, dryRun = false): Promise<T> {
    return this.call<T>({
      verb: 'POST',
      path: pathOf(resource, object.metadata.namespace),
      query: { fieldManager: this.#options.fieldManager, ...(dryRun ? { dryRun: 'All' } : {}) },
      body: { apiVersion: apiVersionOf(resource), kind: resource.kind, ...object },
      signal,
    });
  }

  /** Deletes the object with this identity; one that is gone already, or has another, is left alone. */
  async delete(resource: Resource, { metadata: { namespace, name, uid } }: KubeObject, signal: AbortSignal): Promise<void> {
    const preconditions = uid === undefined ? {} : { preconditions: { uid } };
    try {
      await this.call({
        verb: 'DELETE',
        path: pathOf(resource, namespace, name),
        body: { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy: 'Background', ...preconditions },
        signal,
      });
    } catch (error) {
      if (!(error instanceof ApiError) || !(error.isNotFound || error.isConflict)) throw error;
    }
  }

  /** One call and its whole answer. @throws ApiError, or the signal's reason */
  async call<T>(call: Call): Promise<T> {
    for (let throttled = 0; ; throttled++) {
      await this.limiter.acquire(call.signal);
      try {
        return await this.#once<T>(call);
      } catch (error) {
        if (!(error instanceof ApiError) || error.status !== 429 || throttled >= maxThrottled) throw error;
        const waitMs = error.retryAfterMs ?? 1000;
        this.limiter.shut(waitMs);
        await delay(waitMs * (0.5 + Math.random() / 2), undefined, { signal: call.signal });
      }
    }
  }

  /** An answer that goes on: its chunks, until it ends. `stallMs` without a byte end it with an ApiError. */
  async *stream(call: Call, stallMs: number): AsyncGenerator<string> {
    await this.limiter.acquire(call.signal);
    const started = performance.now();
    const { response, close } = await this.#open(call, this.#deadlineMs);
    this.#observe(call, response.statusCode ?? 0, started, 'WATCH');
    const stalled = setTimeout(() => response.destroy(new Error(`silent for ${String(stallMs / 1000)} s`)), stallMs);
    try {
      if (response.statusCode !== 200) throw failureOf(call, response, await text(response));
      response.setEncoding('utf8');
      for await (const chunk of response as AsyncIterable<string>) {
        stalled.refresh();
        yield chunk;
      }
    } catch (error) {
      call.signal.throwIfAborted();
      throw error instanceof ApiError ? error : new ApiError(describe(error), { verb: 'WATCH', path: call.path }, error);
    } finally {
      clearTimeout(stalled);
      close();
    }
  }

  /** Closes idle connections; calls in flight end by their signals. */
  [Symbol.dispose](): void {
    this.#agent?.agent.destroy();
    this.#agent = undefined;
  }

  async #once<T>(call: Call): Promise<T> {
    const started = performance.now();
    let status = 0;
    let deadlineMs = this.#deadlineMs;
    if (call.verb !== 'GET') {
      deadlineMs = Math.min(deadlineMs, this.#options.mayWriteForMs?.() ?? deadlineMs);
      if (deadlineMs <= 0) throw new ApiError('not sent: this process is not the leader any more', call);
    }
    try {
      const { response, close } = await this.#open(call, deadlineMs);
      try {
        status = response.statusCode ?? 0;
        const body = await text(response);
        if (status < 200 || status > 299) throw failureOf(call, response, body);
        return JSON.parse(body) as T;
      } finally {
        close();
      }
    } catch (error) {
      call.signal.throwIfAborted();
      throw error instanceof ApiError ? error : new ApiError(describe(error), { ...call, ...(status === 0 ? {} : { status }) }, error);
    } finally {
      this.#observe(call, status, started, call.verb);
    }
  }

  /** Sends the request; resolves with the answer's head. Until `close` the deadline and the signal destroy it. */
  async #open(call: Call, deadlineMs: number): Promise<{ readonly response: IncomingMessage; readonly close: () => void }> {
    const { connection, userAgent } = this.#options;
    const agent = this.#agentOf(await connection.tls());
    const headers = await connection.headers();
    const url = new URL(`${connection.server.pathname.replace(/\/$/u, '')}${call.path}`, connection.server);
    for (const [name, value] of Object.entries(call.query ?? {})) if (value !== undefined) url.searchParams.set(name, String(value));
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const send = url.protocol === 'http:' ? requestHttp : requestHttps;
    return new Promise((resolve, reject) => {
      const request = send(url, {
        agent,
        method: call.verb,
        headers: {
          accept: 'application/json',
          'user-agent': userAgent,
          ...headers,
          ...(body === undefined
            ? {}
            : { 'content-type': call.contentType ?? 'application/json', 'content-length': Buffer.byteLength(body) }),
        },
      });
      const streaming = call.query?.['watch'] !== undefined;
      const onAbort = (): void => {
        request.destroy(new Error('cancelled'));
      };
      const deadline = setTimeout(() => request.destroy(new Error(`no answer within ${String(deadlineMs / 1000)} s`)), deadlineMs);
      const close = (): void => {
        clearTimeout(deadline);
        call.signal.removeEventListener('abort', onAbort);
        if (streaming) request.destroy();
      };
      call.signal.addEventListener('abort', onAbort, { once: true });
      request.once('response', (response) => {
        this.clock.heard(response.headers.date);
        if (streaming) clearTimeout(deadline);
        resolve({ response, close });
      });
      request.on('error', (error) => {
        close();
        reject(error);
      });
      request.end(body);
    });
  }

  #agentOf(tls: TlsOptions): HttpAgent | HttpsAgent {
    if (this.#agent?.tls === tls) return this.#agent.agent;
    // New certificates: connections made with the old ones end when the server or their last call ends them.
    const options = { keepAlive: true, maxSockets: 64, maxFreeSockets: 16, scheduling: 'lifo' as const };
    const agent = this.#options.connection.server.protocol === 'http:' ? new HttpAgent(options) : new HttpsAgent({ ...options, ...tls });
    this.#agent = { tls, agent };
    return agent;
  }

  #observe({ path }: Call, status: number, started: number, verb: string): void {
    this.#options.observer?.({ verb, path, status, seconds: (performance.now() - started) / 1000 });
  }
}

async function text(response: IncomingMessage): Promise<string> {
  response.setEncoding('utf8');
  let body = '';
  for await (const chunk of response as AsyncIterable<string>) body += chunk;
  return body;
}

function failureOf(call: Call, response: IncomingMessage, body: string): ApiError {
  const status = response.statusCode ?? 0;
  const seconds = Number(response.headers['retry-after']);
  const { reason, message, causes } = parseStatus(body);
  return new ApiError(`${String(status)} ${message ?? response.statusMessage ?? ''}`.trim(), {
    verb: call.verb,
    path: call.path,
    status,
    reason,
    ...(causes === undefined ? {} : { causes }),
    retryAfterMs: Number.isFinite(seconds) && seconds > 0 ? seconds * 1000 : undefined,
  });
}

function parseStatus(body: string): { readonly reason?: string; readonly message?: string; readonly causes?: readonly string[] } {
  try {
    const parsed: unknown = JSON.parse(body);
    if (typeof parsed !== 'object' || parsed === null) return {};
    const { reason, message, details } = parsed as { readonly reason?: unknown; readonly message?: unknown; readonly details?: unknown };
    const { causes } = (details ?? {}) as { readonly causes?: unknown };
    const reasons = Array.isArray(causes) ? causes.map((cause: { readonly reason?: unknown } | null) => cause?.reason) : [];
    return {
      ...(typeof reason === 'string' ? { reason } : {}),
      ...(typeof message === 'string' ? { message } : {}),
      causes: reasons.filter((cause) => typeof cause === 'string'),
    };
  } catch {
    return { message: body.slice(0, 200) }; // A proxy's answer, not the API server's.
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
