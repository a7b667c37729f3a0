/**
 * One other rank as this rank sees it: the client that subscribes to its messages and its health, the subscriptions it
 * holds at this rank, and the messages in both directions.
 *
 * Only the client's side tells whether the peer lives. A subscription that ends at this rank's server tells nothing: the
 * peer may have ended it because it has just heard of a failure that is still on its way here.
 */
import { status, type Client, type ClientReadableStream, type Metadata, type ServiceError } from '@grpc/grpc-js';
import { SdxlError } from '../../errors/index.js';
import { createClient, formatAddress } from './channel.js';
import { asPeerError, failureOf } from './failure.js';
import { decodeFrame } from './frame.js';
import type { ReceiveCall, WatchCall } from './host.js';
import { Inbox } from './inbox.js';
import { Outbox } from './outbox.js';
import { protocol, type Address, type Failure, type Notice, type Subscription } from './protocol.js';
import type { TlsIdentity } from './tls.js';

export interface PeerEvents {
  /** The peer, or somebody it tells of, has failed. */
  failed(error: SdxlError, failure?: Failure): void;
  /** Something that a wait may hang on has changed: a subscription came or went, a goodbye arrived. */
  changed(): void;
}

export class Peer {
  readonly rank: number;
  readonly address: Address;
  readonly inbox: Inbox;
  readonly outbox = new Outbox();
  readonly #events: PeerEvents;
  readonly #tls: TlsIdentity | undefined;
  #client: Client | undefined;
  #watch: ClientReadableStream<Notice> | undefined;
  #data: ClientReadableStream<Buffer> | undefined;
  #watchOpen = false;
  #dataOpen = false;
  #watcher: WatchCall | undefined;
  #receiver: ReceiveCall | undefined;
  #saidGoodbye = false;
  #dataEnded = false;
  #disconnected = false;
  #silentTicks = 0;

  constructor(rank: number, address: Address, maxBufferedBytes: number, events: PeerEvents, tls?: TlsIdentity) {
    this.rank = rank;
    this.address = address;
    this.inbox = new Inbox(rank, maxBufferedBytes);
    this.#events = events;
    this.#tls = tls;
  }

  /** Both subscriptions at the peer and both of the peer's here are up. */
  get linked(): boolean {
    return this.#watchOpen && this.#dataOpen && this.#watcher !== undefined && this.#receiver !== undefined;
  }

  /** The peer has closed: it will neither send nor take anything more, and its silence is no death. */
  get saidGoodbye(): boolean {
    return this.#saidGoodbye;
  }

  /** The peer has closed and all it ever sent is here. */
  get finished(): boolean {
    return this.#saidGoodbye && this.#dataEnded;
  }

  /** The peer still listens to this rank's health. */
  get watched(): boolean {
    return this.#watcher !== undefined;
  }

  /** Intervals since the peer was last heard of. */
  get silentTicks(): number {
    return this.#silentTicks;
  }

  /** Subscribes to the peer's health and messages. Rejects with a ServiceError while the peer cannot be reached. */
  async connect(subscription: Subscription, metadata: Metadata): Promise<void> {
    const { watch, receive } = protocol();
    const client = createClient(this.address, this.#tls);
    const health = client.makeServerStreamRequest(watch.path, watch.requestSerialize, watch.responseDeserialize, subscription, metadata);
    this.#client = client;
    this.#watch = health;
    try {
      await opened(health);
    } catch (error) {
      client.close();
      throw error;
    }
    this.#watchOpen = true;
    health.on('data', this.#noticed);
    health.on('error', this.#broken);
    health.on('end', this.#watchEnded);
    if (this.#disconnected) return;

    const data = client.makeServerStreamRequest(
      receive.path,
      receive.requestSerialize,
      receive.responseDeserialize,
      subscription,
      metadata,
    );
    this.#data = data;
    this.inbox.attach(data);
    data.on('metadata', () => {
      this.#dataOpen = true;
      this.#events.changed();
    });
    data.on('data', this.#arrived);
    data.on('error', this.#broken);
    data.on('end', this.#dataEnd);
    this.#events.changed();
  }

  /** The peer subscribes to this rank's messages. False: it already has. */
  attachReceiver(call: ReceiveCall): boolean {
    if (this.#receiver !== undefined) return false;
    this.#receiver = call;
    this.outbox.attach(call);
    this.#events.changed();
    return true;
  }

  /** The peer subscribes to this rank's health. False: it already has. */
  attachWatcher(call: WatchCall): boolean {
    if (this.#watcher !== undefined) return false;
    this.#watcher = call;
    call.on('cancelled', () => {
      this.#watcher = undefined;
      this.#events.changed();
    });
    this.#events.changed();
    return true;
  }

  /** Tells the peer, if it still listens. */
  tell(notice: Notice): void {
    this.#watcher?.write(notice);
  }

  /** Counts one interval of silence, once the peer is being listened to. */
  tick(): void {
    if (this.#watchOpen) this.#silentTicks++;
  }

  /** Ends this rank's subscriptions at the peer, which is also how the peer learns that this rank has heard it. */
  disconnect(): void {
    this.#disconnected = true;
    this.#watch?.cancel();
    this.#data?.cancel();
    this.#client?.close();
    this.#client = undefined;
  }

  lost(why: string, cause?: unknown): SdxlError {
    const { rank, address } = this;
    const message = `rank ${String(rank)} at ${formatAddress(address)} is lost: ${why}`;
    return new SdxlError('PEER_LOST', message, {
      fields: { rank, host: address.host, port: address.port },
      ...(cause === undefined ? {} : { cause }),
    });
  }

  readonly #arrived = (bytes: Buffer): void => {
    this.#silentTicks = 0;
    let frame;
    try {
      frame = decodeFrame(bytes);
    } catch (error) {
      this.#events.failed(this.#violation(error instanceof Error ? error.message : String(error), error));
      return;
    }
    try {
      this.inbox.accept(frame);
    } catch (error) {
      if (!(error instanceof SdxlError)) throw error;
      this.#events.failed(error);
    }
  };

  readonly #noticed = (notice: Notice): void => {
    this.#silentTicks = 0;
    switch (notice.notice) {
      case 'heartbeat':
        break;
      case 'goodbye':
        this.#saidGoodbye = true;
        this.#events.changed();
        break;
      case 'failure':
        this.#events.failed(asPeerError(notice.failure, this.rank), notice.failure);
        break;
      default:
        notice satisfies never;
    }
  };

  readonly #dataEnd = (): void => {
    this.#dataEnded = true;
    try {
      this.inbox.end();
    } catch (error) {
      if (!(error instanceof SdxlError)) throw error;
      this.#events.failed(error);
    }
    this.#events.changed();
  };

  readonly #watchEnded = (): void => {
    if (!this.#saidGoodbye && !this.#disconnected) this.#events.failed(this.lost('it ended without a goodbye'));
  };

  readonly #broken = (error: ServiceError): void => {
    if (this.#disconnected) return;
    if (this.#saidGoodbye) {
      if (!this.#dataEnded) this.#dataEnd();
      return;
    }
    if (error.code === status.RESOURCE_EXHAUSTED) {
      this.#events.failed(this.#violation(error.details, error));
      return;
    }
    const told = failureOf(error);
    const why = told === undefined ? `its connection broke: ${error.details}` : `it ended its stream: ${told.message}`;
    this.#events.failed(this.lost(why, error));
  };

  #violation(why: string, cause: unknown): SdxlError {
    const message = `rank ${String(this.rank)} sent what is no frame of this protocol: ${why}`;
    return new SdxlError('PROTOCOL_VIOLATION', message, { fields: { rank: this.rank }, cause });
  }
}

/** Resolves when the server has taken the call, rejects when it has not. */
function opened(call: ClientReadableStream<unknown>): Promise<void> {
  return new Promise((resolve, reject) => {
    call.once('metadata', () => {
      resolve();
    });
    // Stays: after the first event this only keeps a later error from being unhandled before its own listener is there.
    call.on('error', reject);
  });
}
