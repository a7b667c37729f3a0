/** A rank's gRPC server: refuses callers without the token, then hands each call to the gang's part that serves it. */
import { createServer, type Server as NetServer, type Socket } from 'node:net';
import { Server, type ConnectionInjector, type ServerWritableStream } from '@grpc/grpc-js';
import { SdxlError } from '../../errors/index.js';
import { formatAddress } from './channel.js';
import { Condition } from './condition.js';
import type { OutgoingFrame } from './frame.js';
import { protocol, type Address, type JoinEvent, type JoinRequest, type Notice, type Subscription } from './protocol.js';
import { maxStrangers, Strangers } from './strangers.js';
import { serverCredentials, type TlsIdentity } from './tls.js';
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

export interface Admission {
  /** The job's shared secret. */
  readonly token: string;
  /** Ranks of the gang: each may hold a few connections. */
  readonly worldSize: number;
  readonly tls: TlsIdentity | undefined;
}

/** A rank's own, and what is left of calls made again. */
const connectionsPerRank = 8;
/** Of one connection: a member needs two. */
const maxStreams = 16;

export class Host {
  readonly port: number;
  readonly #listener: NetServer;
  readonly #server: Server;
  readonly #injector: ConnectionInjector;
  readonly #sockets = new Set<Socket>();
  readonly #strangers: Strangers;
  readonly #changed = new Condition();

  private constructor(listener: NetServer, server: Server, injector: ConnectionInjector, strangers: Strangers) {
    const address = listener.address();
    this.port = typeof address === 'object' && address !== null ? address.port : 0;
    this.#listener = listener;
    this.#server = server;
    this.#injector = injector;
    this.#strangers = strangers;
    listener.on('connection', (socket) => {
      // A peer may reset a connection before anything else listens to it.
      socket.on('error', () => socket.destroy());
      this.#sockets.add(socket);
      socket.once('close', () => {
        this.#sockets.delete(socket);
        this.#changed.notify();
      });
      strangers.add(socket);
      injector.injectConnection(socket);
    });
  }

  /** Binds and serves. Rejects with ADDRESS_UNAVAILABLE when the address cannot be bound. */
  static async open(address: Address, { token, worldSize, tls }: Admission, handlers: HostHandlers): Promise<Host> {
    const strangers = new Strangers();
    const refused = (from: string): void => {
      strangers.refuse(from);
      handlers.refused(from);
    };
    const known = (from: string): void => {
      strangers.admit(from);
    };
    const server = new Server({
      interceptors: [requireToken(token, refused, known)],
      'grpc.max_concurrent_streams': maxStreams,
      'grpc.max_metadata_size': 16 << 10,
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
    const injector = server.createConnectionInjector(serverCredentials(tls));
    const listener = createServer();
    // Of those that gave way, some are not closed yet.
    listener.maxConnections = 2 * maxStrangers + connectionsPerRank * worldSize;
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
    return new Host(listener, server, injector, strangers);
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
    this.#strangers.clear();
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
