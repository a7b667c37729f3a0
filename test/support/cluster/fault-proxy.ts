/**
 * A proxy in front of the API server that counts calls and makes them go wrong, as networks and servers do. The process under test gets it
 * by its kubeconfig: `cluster.writeKubeconfig('operator', { server: proxy.url })`.
 */
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { Agent, createServer, request as requestHttps, type Server } from 'node:https';
import type { AddressInfo } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { matches, parseApiCall, type ApiCall, type CallPattern, type FinishedCall } from './api-call.js';
import type { Cluster } from './cluster.js';
import { servingCertificate, servingKey } from './paths.js';
import { WatchStream } from './watch-stream.js';

export type Fault =
  /** The API server's answer is this one; the call does not reach it. */
  | { readonly type: 'answer'; readonly status: number; readonly reason?: string; readonly retryAfterSeconds?: number }
  /** The connection breaks before the call reaches the API server, or after that has done it. */
  | { readonly type: 'drop'; readonly when: 'before' | 'after' }
  /** The call is passed on after a while. */
  | { readonly type: 'delay'; readonly ms: number };

/** When a step runs in the course of a call. */
export type Moment =
  /** Nothing has reached the API server. */
  | 'before'
  /** The API server has answered; the client waits for it. */
  | 'answered';

interface Injection {
  readonly pattern: CallPattern;
  readonly fault: Fault;
  remaining: number;
}

interface Step {
  readonly pattern: CallPattern;
  readonly moment: Moment;
  readonly action: (call: ApiCall) => void | Promise<void>;
  remaining: number;
}

export class FaultProxy implements AsyncDisposable {
  readonly url: string;
  readonly #server: Server;
  readonly #upstream: URL;
  readonly #agent: Agent;
  readonly #calls: FinishedCall[] = [];
  readonly #watches = new Set<WatchStream>();
  #injections: Injection[] = [];
  #steps: Step[] = [];

  private constructor(server: Server, upstream: URL, agent: Agent) {
    this.#server = server;
    this.#upstream = upstream;
    this.#agent = agent;
    this.url = `https://127.0.0.1:${String((server.address() as AddressInfo).port)}`;
  }

  static async start(cluster: Pick<Cluster, 'directory' | 'url' | 'certificateAuthority'>): Promise<FaultProxy> {
    const [cert, key] = await Promise.all([readFile(servingCertificate(cluster.directory)), readFile(servingKey(cluster.directory))]);
    // Calls wait for their turn as long as they like; the client has deadlines.
    const server = createServer({ cert, key, requestTimeout: 0, keepAliveTimeout: 0 });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const agent = new Agent({ keepAlive: true, ca: cluster.certificateAuthority });
    const proxy = new FaultProxy(server, new URL(cluster.url), agent);
    server.on('request', (request, response) => void proxy.#serve(request, response));
    return proxy;
  }

  /** Calls whose end is known, in the order of their ends. A watch ends when its stream does. */
  get calls(): readonly FinishedCall[] {
    return this.#calls;
  }

  count(pattern: CallPattern = {}): number {
    return this.#calls.filter((call) => matches(call, pattern)).length;
  }

  forgetCalls(): void {
    this.#calls.length = 0;
  }

  /** Lets the next `times` matching calls go wrong. Of several injections for a call the first counts. */
  inject(pattern: CallPattern, fault: Fault, times = 1): void {
    this.#injections.push({ pattern, fault, remaining: times });
  }

  /** Ends all injections. */
  heal(): void {
    this.#injections = [];
  }

  /**
   * Runs `action` in the course of the `position`th matching call from now on, counted from 1, and lets the call go on when it is done: with
   * `answered`, a client that the action kills has written and never learns of it.
   */
  at(position: number, pattern: CallPattern, moment: Moment, action: (call: ApiCall) => void | Promise<void>): void {
    this.#steps.push({ pattern, moment, action, remaining: position });
  }

  /** Open watches that match. */
  watches(pattern: CallPattern = {}): readonly ApiCall[] {
    return this.#matching(pattern).map(({ call }) => call);
  }

  /** Breaks the connections of open watches; how many there were. */
  cutWatches(pattern: CallPattern = {}): number {
    const cut = this.#matching(pattern);
    for (const watch of cut) watch.cut();
    return cut.length;
  }

  /** Ends open watches orderly, as the API server does after a while. */
  endWatches(pattern: CallPattern = {}): number {
    const ended = this.#matching(pattern);
    for (const watch of ended) watch.end();
    return ended.length;
  }

  /** Tells open watches that their resourceVersion is too old (410 in the stream), and ends them. */
  expireWatches(pattern: CallPattern = {}): number {
    const expired = this.#matching(pattern);
    for (const watch of expired) watch.expire();
    return expired.length;
  }

  /** Holds back what open watches would tell, until `resumeWatches`: the client's cache gets old. */
  pauseWatches(pattern: CallPattern = {}): number {
    const paused = this.#matching(pattern);
    for (const watch of paused) watch.pause();
    return paused.length;
  }

  resumeWatches(): void {
    for (const watch of this.#watches) watch.resume();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    this.#agent.destroy();
    await once(this.#server, 'close');
  }

  #matching(pattern: CallPattern): WatchStream[] {
    return [...this.#watches].filter(({ call }) => matches(call, pattern));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const call = parseApiCall(request.method ?? 'GET', request.url ?? '/');
    let status: number | undefined;
    let isInjected = false;
    try {
      const body = await collect(request);
      await this.#runSteps(call, 'before');
      const fault = this.#take(call);
      isInjected = fault !== undefined;
      if (fault?.type === 'delay') await delay(fault.ms);
      if (fault?.type === 'answer') {
        status = fault.status;
        answer(response, fault);
        return;
      }
      if (fault?.type === 'drop' && fault.when === 'before') {
        response.destroy();
        return;
      }
      const upstream = await this.#forward(request, body);
      if (call.verb === 'watch' && upstream.statusCode === 200) {
        status = 200;
        await this.#watch(call, upstream, response);
        return;
      }
      const answered = await collect(upstream);
      await this.#runSteps(call, 'answered');
      if (fault?.type === 'drop') {
        response.destroy();
        return;
      }
      status = upstream.statusCode ?? 502;
      response.writeHead(status, endToEnd(upstream)).end(answered);
    } catch {
      // The client or the API server went away: so does the other.
      response.destroy();
    } finally {
      this.#calls.push({ ...call, status, isInjected });
    }
  }

  async #runSteps(call: ApiCall, moment: Moment): Promise<void> {
    const due: Step[] = [];
    for (const step of this.#steps) {
      if (step.moment === moment && matches(call, step.pattern) && --step.remaining === 0) due.push(step);
    }
    this.#steps = this.#steps.filter(({ remaining }) => remaining > 0);
    for (const { action } of due) await action(call);
  }

  #take(call: ApiCall): Fault | undefined {
    const injection = this.#injections.find(({ pattern }) => matches(call, pattern));
    if (injection === undefined) return undefined;
    if (--injection.remaining === 0) this.#injections = this.#injections.filter((other) => other !== injection);
    return injection.fault;
  }

  async #forward(request: IncomingMessage, body: Buffer): Promise<IncomingMessage> {
    const { method, url: path, headers } = request;
    return await new Promise((resolve, reject) => {
      const { hostname, port } = this.#upstream;
      const forwarded = requestHttps({
        hostname,
        port,
        method,
        path,
        headers: { ...headers, host: this.#upstream.host },
        agent: this.#agent,
      });
      forwarded.once('response', resolve).once('error', reject);
      const { socket } = request;
      const onClose = (): void => {
        forwarded.destroy();
      };
      socket.once('close', onClose);
      // The client's connection outlives this call.
      forwarded.once('close', () => socket.off('close', onClose));
      forwarded.end(body);
    });
  }

  async #watch(call: ApiCall, upstream: IncomingMessage, response: ServerResponse): Promise<void> {
    const stream = new WatchStream(call, upstream, response);
    this.#watches.add(stream);
    response.writeHead(200, endToEnd(upstream)).flushHeaders();
    try {
      await stream.run();
    } finally {
      this.#watches.delete(stream);
    }
  }
}

async function collect(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Headers but those of the one connection. */
function endToEnd({ headers }: IncomingMessage): IncomingMessage['headers'] {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !['connection', 'keep-alive', 'transfer-encoding'].includes(name)));
}

const reasons: Readonly<Record<number, string>> = {
  403: 'Forbidden',
  404: 'NotFound',
  409: 'Conflict',
  410: 'Expired',
  429: 'TooManyRequests',
  500: 'InternalError',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

function answer(
  response: ServerResponse,
  { status, reason = reasons[status] ?? 'Unknown', retryAfterSeconds }: Extract<Fault, { type: 'answer' }>,
): void {
  const retryAfter = retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) };
  const message = `${reason}, injected by the test`;
  response
    .writeHead(status, { 'content-type': 'application/json', ...retryAfter })
    .end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Failure', message, reason, code: status }));
}
