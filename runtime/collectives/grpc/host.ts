/** A rank's gRPC server: refuses callers without the token, then hands each call to the gang's part that serves it. */
import { Server, ServerCredentials, type ServerWritableStream } from '@grpc/grpc-js';
import { SdxlError } from '../../errors/index.js';
import { formatAddress } from './channel.js';
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
  readonly #server: Server;

  private constructor(server: Server, port: number) {
    this.#server = server;
    this.port = port;
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
    const port = await new Promise<number>((resolve, reject) => {
      server.bindAsync(formatAddress(address), ServerCredentials.createInsecure(), (error, bound) => {
        if (error === null) resolve(bound);
        else reject(addressUnavailable(address, error));
      });
    });
    return new Host(server, port);
  }

  /** Stops listening and cuts every connection; resolves when the last socket is closed. */
  async destroy(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.#server.tryShutdown(() => {
        resolve();
      });
    });
    this.#server.forceShutdown();
    await closed;
  }
}

function addressUnavailable(address: Address, cause: Error): SdxlError {
  const { host, port } = address;
  const message = `cannot listen on ${formatAddress(address)}: ${cause.message}: choose another port or address`;
  return new SdxlError('ADDRESS_UNAVAILABLE', message, { fields: { host, port }, cause });
}
