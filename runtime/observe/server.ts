/** Serves `/metrics`, `/healthz` and `/status` over HTTP: read only, small, loopback unless told otherwise. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { SdxlError } from '../errors/index.js';
import { metricsContentType } from './aggregate.js';
import type { Status } from './status.js';

export interface ObservationSources {
  readonly metrics: () => Promise<string>;
  readonly status: () => Status;
  /** Undefined: healthy; else why not. */
  readonly unhealthy: () => string | undefined;
}

const requestTimeoutMs = 5_000;
/** How often requests that take too long are looked for. */
const checkIntervalMs = 1_000;
/** At once. The oldest beyond are closed: whoever holds them open has had his time, and the next may be a probe. */
const maxConnections = 256;

export class ObservationServer implements AsyncDisposable {
  readonly port: number;
  readonly #server: Server;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
  }

  /** Port 0: any free one. Rejects with METRICS_UNAVAILABLE. */
  static async open(address: { readonly host: string; readonly port: number }, sources: ObservationSources): Promise<ObservationServer> {
    const timeouts = { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs, keepAliveTimeout: requestTimeoutMs };
    const server = createServer({ ...timeouts, connectionsCheckingInterval: checkIntervalMs }, (request, response) => {
      void answer(request, response, sources);
    });
    limitConnections(server);
    await new Promise<void>((resolve, reject) => {
      server.once('error', (cause: NodeJS.ErrnoException) => {
        const { host, port } = address;
        const message = `cannot serve metrics on ${host}:${String(port)}: ${cause.message}: ${adviceFor(cause)}`;
        reject(new SdxlError('METRICS_UNAVAILABLE', message, { fields: { host, port }, cause }));
      });
      server.listen(address.port, address.host, resolve);
    });
    const bound = server.address();
    return new ObservationServer(server, typeof bound === 'object' && bound !== null ? bound.port : address.port);
  }

  /** Idempotent. */
  async close(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => {
        resolve();
      });
    });
    this.#server.closeAllConnections();
    await closed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

function limitConnections(server: Server): void {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    const [oldest] = sockets;
    if (sockets.size > maxConnections) oldest?.destroy();
  });
}

function adviceFor({ code }: NodeJS.ErrnoException): string {
  return code === 'EADDRINUSE' || code === 'EACCES'
    ? 'choose another port with --metrics-port or SDXL_METRICS_PORT, or 0 for any free one'
    : "set SDXL_METRICS_HOST to one of this machine's addresses";
}

async function answer(request: IncomingMessage, response: ServerResponse, sources: ObservationSources): Promise<void> {
  const reply = (status: number, type: string, body: string): void => {
    response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(request.method === 'HEAD' ? '' : body);
  };
  try {
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      reply(405, 'text/plain', 'only GET and HEAD\n');
      return;
    }
    switch (request.url?.split('?', 1)[0]) {
      case '/metrics':
        reply(200, metricsContentType, await sources.metrics());
        return;
      case '/status':
        reply(200, 'application/json', `${JSON.stringify(sources.status(), null, 2)}\n`);
        return;
      case '/healthz': {
        const reason = sources.unhealthy();
        reply(reason === undefined ? 200 : 503, 'text/plain', `${reason ?? 'ok'}\n`);
        return;
      }
      default:
        reply(404, 'text/plain', 'not found: /metrics, /healthz and /status are served here\n');
    }
  } catch (error) {
    reply(500, 'text/plain', `${error instanceof Error ? error.message : String(error)}\n`);
  }
}
