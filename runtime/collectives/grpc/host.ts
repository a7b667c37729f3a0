/** A rank's gRPC server: refuses callers without the token, then hands each call to the gang's part that serves it. */
import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { Server, ServerCredentials, type ConnectionInjector, type ServerWritableStream } from '@grpc/grpc-js';
import { SdxlError } from '../../errors/index.js';
import { formatAddress } from './channel.js';
import { Condition } from './condition.js';
import type { OutgoingFrame } from './frame.js';
import { protocol, type Address, type JoinEvent, type JoinRequest, type Notice, type Subscription } from './protocol.js';
import { requireToken } from './token.js';

export type JoinCall = ServerWritableStream<JoinRequest, JoinEvent>;
export type ReceiveCall = ServerWritableStream<Subscription, OutgoingFrame>;
export type WatchCall = ServerWritableStream<Subscription, Notice>;

export interface HostHandlers {
  /** Absent on every rank but 0: the call is unimplemented there. */
  readonly join?: (call: JoinCall) => void;
  readonly receive: (call: ReceiveCall) => void;
  readonly watch: (call: WatchCall) => void;
  /** A caller without the job's token was turned away. */
  readonly refused: (from: string) => void;
}

export class Host {
  readonly port: number;
  readonly #listener: NetServer;
  readonly #server: Server;
  readonly #injector: ConnectionInjector;
  readonly #sockets = new Set<Socket>();
  readonly #changed = new Condition();

  private constructor(listener: NetServer, server: Server, injector: ConnectionInjector) {
    const address = listener.address();
    this.port = typeof address === 'object' && address !== null ? address.port : 0;
    this.#listener = listener;
    this.#server = server;
    this.#injector = injector;
    listener.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        this.#changed.notify();
      });
      injector.injectConnection(socket);
    });
  }

  /** Binds and serves. Rejects with ADDRESS_UNAVAILABLE when the address cannot be bound. */
  static async open(address: Address, token: string, handlers: HostHandlers): Promise<Host> {
    const server = new Server({
      interceptors: [requireToken(token, handlers.refused)],
      // Requests are small; only the answers carry tensors.
      'grpc.max_receive_message_length': 64 << 10,
      'grpc.max_connection_idle_ms': 60_000,
      'grpc.enable_channelz': 0,
    });
    const { join, receive, watch } = protocol();
    const service = { receive, watch };
    const implementation = { receive: handlers.receive, watch: handlers.watch };
    if (handlers.join === undefined) server.addService(service, implementation);
    else server.addService({ ...service, join }, { ...implementation, join: handlers.join });

    // The sockets are this class's own: gRPC's shutdown waits for the far end, which a rank that hangs never answers.
    const injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    const listener = createServer();
    try {
      await new Promise<void>((resolve, reject) => {
        listener.on('error', reject);
        listener.listen(address, resolve);
      });
    } catch (error) {
      injector.destroy();
      server.forceShutdown();
      throw addressUnavailable(address, error);
    }
    return new Host(listener, server, injector);
  }

  /** Resolves once no caller is connected any more, at the latest after `timeoutMs`. */
  async deserted(timeoutMs: number): Promise<void> {
    await this.#changed.until(() => this.#sockets.size === 0, timeoutMs);
  }

  /** Stops listening and cuts every connection; resolves when the last socket is closed. */
  async destroy(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#listener.close(() => {
        resolve();
      });
    });
    this.#injector.destroy();
    this.#server.forceShutdown();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}

function addressUnavailable(address: Address, cause: unknown): SdxlError {
  const { host, port } = address;
  const why = cause instanceof Error ? cause.message : String(cause);
  const message = `cannot listen on ${formatAddress(address)}: ${why}: choose another port or address`;
  return new SdxlError('ADDRESS_UNAVAILABLE', message, { fields: { host, port }, cause });
}
