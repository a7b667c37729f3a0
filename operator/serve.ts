/** Serves what a cluster asks a process: /metrics on one address, /healthz and /readyz on another. */
import { createServer, type Server } from 'node:http';
import type { Socket } from 'node:net';
import type { Operator } from './controller/index.js';

export interface Address {
  /** Undefined: every interface. */
  readonly host: string | undefined;
  readonly port: number;
}

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

type Answers = Readonly<Record<string, () => Promise<Answer> | Answer>>;

const requestTimeoutMs = 5_000;
/** How often requests that take too long are looked for. */
const checkIntervalMs = 1_000;
/** At once. The oldest beyond are closed: whoever holds them open has had his time, and the next may be the kubelet's probe. */
const maxConnections = 256;

export function metricsAnswers({ metrics }: Operator): Answers {
  return { '/metrics': async () => ({ status: 200, type: metrics.contentType, body: await metrics.text() }) };
}

export function healthAnswers(operator: Operator): Answers {
  const plain = (problem: string | undefined): Answer => ({
    status: problem === undefined ? 200 : 503,
    type: 'text/plain',
    body: `${problem ?? 'ok'}\n`,
  });
  return {
    '/healthz': () => plain(operator.unhealthy),
    '/readyz': () => plain(operator.isReady ? undefined : 'the caches are being filled'),
  };
}

/** @returns the port listened on, and how to stop */
export async function serve({ host, port }: Address, answers: Answers): Promise<{ readonly port: number; readonly close: () => void }> {
  const timeouts = { requestTimeout: requestTimeoutMs, headersTimeout: requestTimeoutMs, keepAliveTimeout: requestTimeoutMs };
  const server = createServer({ ...timeouts, connectionsCheckingInterval: checkIntervalMs }, (request, response) => {
    const answer = async (): Promise<Answer> => {
      const made = Object.entries(answers).find(([path]) => path === request.url?.split('?', 1)[0]);
      if (request.method !== 'GET' && request.method !== 'HEAD') return { status: 405, type: 'text/plain', body: 'only GET and HEAD\n' };
      return made === undefined ? { status: 404, type: 'text/plain', body: `not found: ${Object.keys(answers).join(', ')}\n` } : made[1]();
    };
    answer()
      .catch((error: unknown): Answer => ({ status: 500, type: 'text/plain', body: `${String(error)}\n` }))
      .then(({ status, type, body }) => {
        response.writeHead(status, { 'content-type': type, 'cache-control': 'no-store' }).end(request.method === 'HEAD' ? '' : body);
      })
      .catch((error: unknown) => {
        response.destroy(error instanceof Error ? error : new Error(String(error)));
      });
  });
  limitConnections(server);
  await new Promise<void>((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) => {
      reject(new Error(`cannot listen on ${host ?? ''}:${String(port)}: ${cause.message}`, { cause }));
    });
    if (host === undefined) server.listen(port, resolve);
    else server.listen(port, host, resolve);
  });
  const bound = server.address();
  return {
    port: typeof bound === 'object' && bound !== null ? bound.port : port,
    close: () => {
      server.close();
      server.closeAllConnections();
    },
  };
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
