/**
 * A communicator over gRPC for host memory. Each rank serves its peers; each pair of ranks holds two connections, one per
 * direction, and on each the owner of the data pushes into one long-lived stream.
 *
 * Life: bind → rendezvous at rank 0 → subscribe to every peer, wait for every peer's subscription → exchanges →
 * goodbye or failure → everything released.
 *
 * How it ends, in this order, which makes every rank name the same culprit:
 * - failure: pending calls reject → every peer is told (also of failures heard from others, so that this rank's leaving is
 *   never what a peer sees first) → own subscriptions end, which tells the peers that this rank knows → wait until every
 *   peer has ended its own, at most `abortMs` → the server and all sockets go.
 * - close: own streams are flushed and ended, a goodbye is sent → wait for every peer's goodbye and last message, at most
 *   `closeMs` → as above.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Metadata } from '@grpc/grpc-js';
import { SdxlError, toSdxlError } from '../../errors/index.js';
import type { Communicator, Exchange, Message } from '../communicator.js';
import { backoffMs } from './channel.js';
import { Condition } from './condition.js';
import { toFailure } from './failure.js';
import type { MessageKind } from './frame.js';
import { advertisedHost, resolveOptions, type GrpcCommunicatorOptions, type ResolvedOptions } from './options.js';
import { Peer } from './peer.js';
import { PendingExchange } from './pending-exchange.js';
import type { Failure, Roster } from './protocol.js';
import { Reception } from './reception.js';
import { joinGang } from './rendezvous.js';
import { tokenMetadata } from './token.js';

/** Peers serve before they join, so linking takes no longer than a network takes to let them through. */
const minLinkMs = 10_000;

export class GrpcCommunicator implements Communicator {
  readonly rank: number;
  readonly worldSize: number;
  readonly failed: AbortSignal;
  readonly #options: ResolvedOptions;
  readonly #reception: Reception;
  readonly #failed = new AbortController();
  readonly #peers = new Map<number, Peer>();
  readonly #pending = new Set<PendingExchange>();
  readonly #changed = new Condition();
  #heartbeat: NodeJS.Timeout | undefined;
  #failure: Failure | undefined;
  #closing = false;
  #ending: Promise<void> | undefined;

  private constructor(options: ResolvedOptions, reception: Reception, roster: Roster) {
    this.rank = options.rank;
    this.worldSize = options.worldSize;
    this.failed = this.#failed.signal;
    this.#options = options;
    this.#reception = reception;
    for (const { rank, address } of roster.members) {
      if (rank === this.rank || address === null) continue;
      const events = {
        failed: (error: SdxlError, failure?: Failure): void => {
          this.#fail(error, failure);
        },
        changed: (): void => {
          this.#changed.notify();
        },
      };
      const peer: Peer = new Peer(rank, address, options.maxBufferedBytes, events, options.tls);
      this.#peers.set(rank, peer);
    }
    reception.admit(roster.gang, this.#peers);
  }

  /**
   * Joins the gang. Rejects with ADDRESS_UNAVAILABLE, UNAUTHENTICATED, RENDEZVOUS_MISMATCH, RENDEZVOUS_REFUSED,
   * RENDEZVOUS_TIMEOUT or PEER_LOST, with what another rank failed of meanwhile, or with the signal's reason; nothing is
   * left open then.
   */
  static async open(given: GrpcCommunicatorOptions): Promise<GrpcCommunicator> {
    const options = resolveOptions(given);
    const signal = options.signal ?? new AbortController().signal;
    signal.throwIfAborted();
    const metadata = tokenMetadata(options.token);
    const reception = await Reception.open(options);
    let communicator: GrpcCommunicator | undefined;
    try {
      const roster = await rendezvous(options, reception, metadata, signal);
      communicator = new GrpcCommunicator(options, reception, roster);
      await communicator.#link(roster.gang, metadata, signal);
      return communicator;
    } catch (error) {
      const cause = signal.aborted ? cancelled(error) : toSdxlError(error);
      if (communicator === undefined) await reception.refuse(cause, options.timeouts.abortMs);
      else await communicator.abort(cause);
      throw error;
    }
  }

  exchange(exchange: Exchange, signal?: AbortSignal): Promise<void> {
    return this.#run('exchange', exchange, signal);
  }

  barrier(signal?: AbortSignal): Promise<void> {
    const messages = [...this.#peers.keys()].map((peer) => ({ peer, parts: [] }));
    return this.#run('barrier', { operation: 'barrier', tag: 0, sends: messages, receives: messages }, signal);
  }

  async abort(error: SdxlError): Promise<void> {
    this.#fail(error);
    await this.#ending;
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#ending ??= this.#end();
    await this.#ending;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  async #link(gang: string, metadata: Metadata, signal: AbortSignal): Promise<void> {
    const { heartbeatIntervalMs, heartbeatTimeoutMs } = this.#options.timeouts;
    const timeoutMs = Math.max(minLinkMs, heartbeatTimeoutMs);
    const peers = [...this.#peers.values()];
    const stop = AbortSignal.any([signal, this.failed]);
    const wake = (): void => {
      this.#changed.notify();
    };
    stop.addEventListener('abort', wake);
    this.#heartbeat = setInterval(this.#beat, heartbeatIntervalMs);
    const unreachable = new Map<Peer, unknown>();
    const subscribe = async (peer: Peer): Promise<void> => {
      for (let attempt = 0; !stop.aborted; attempt++) {
        try {
          await peer.connect({ gang, rank: this.rank }, metadata);
          return;
        } catch (error) {
          unreachable.set(peer, error);
        }
        // Cut short by `stop`, which the loop sees.
        await delay(backoffMs(attempt), undefined, { signal: stop }).catch(() => undefined);
      }
    };
    const linking = Promise.all(peers.map(subscribe));
    const linked = await this.#changed.until(() => stop.aborted || peers.every((peer) => peer.linked), timeoutMs);
    stop.removeEventListener('abort', wake);
    stop.throwIfAborted();
    if (linked) {
      await linking;
      return;
    }
    const absent = peers.find((peer) => !peer.linked);
    if (absent === undefined) return;
    const cause = unreachable.get(absent);
    const why = cause === undefined ? 'it did not connect to this rank' : `it cannot be reached: ${toSdxlError(cause).message}`;
    throw absent.lost(`${why} within ${String(timeoutMs)} ms`, cause);
  }

  async #run(kind: MessageKind, exchange: Exchange, signal: AbortSignal | undefined): Promise<void> {
    this.failed.throwIfAborted();
    signal?.throwIfAborted();
    if (this.#closing) throw new Error(`${exchange.operation}#${String(exchange.tag)} was called after close`);
    for (const message of exchange.sends) this.#peer(message, exchange);
    for (const message of exchange.receives) this.#peer(message, exchange);

    // Nothing above has touched a message: a call that is refused leaves the order of the others alone.
    const { timeouts, observer } = this.#options;
    const pending = new PendingExchange(kind, exchange, timeouts.exchangeMs, this.#pendingEvents, observer, signal);
    this.#pending.add(pending);
    try {
      // Sends first: they are on their way while the receives are posted.
      for (const message of exchange.sends) {
        const peer = this.#peer(message, exchange);
        if (peer.saidGoodbye) throw closedPeer(peer.rank, exchange);
        peer.outbox.send(pending.outgoing(peer.rank, message.parts));
      }
      for (const message of exchange.receives) {
        const peer = this.#peer(message, exchange);
        peer.inbox.post(pending.incoming(peer.rank, message.parts));
      }
      pending.start();
    } catch (error) {
      this.#fail(toSdxlError(error));
    }
    await pending.promise;
  }

  #peer({ peer: rank }: Message, exchange: Exchange): Peer {
    const peer = this.#peers.get(rank);
    if (peer !== undefined) return peer;
    throw new RangeError(
      `${exchange.operation}#${String(exchange.tag)} names rank ${String(rank)} as a peer of rank ${String(this.rank)} ` +
        `in a world of ${String(this.worldSize)}`,
    );
  }

  readonly #pendingEvents = {
    failed: (error: SdxlError): void => {
      this.#fail(error);
    },
    settled: (pending: PendingExchange): void => {
      this.#pending.delete(pending);
    },
  };

  readonly #beat = (): void => {
    const { heartbeatIntervalMs, heartbeatTimeoutMs } = this.#options.timeouts;
    for (const peer of this.#peers.values()) {
      peer.tell({ notice: 'heartbeat', heartbeat: {} });
      if (peer.saidGoodbye) continue;
      peer.tick();
      const silentMs = (peer.silentTicks - 1) * heartbeatIntervalMs;
      if (silentMs >= heartbeatTimeoutMs) {
        this.#fail(peer.lost(`it has been silent for ${String(silentMs)} ms: it hangs, or the network is cut`));
        return;
      }
    }
  };

  /** The first failure ends the gang; `failure` is what the peers are told, and by default that this rank failed of `error`. */
  #fail(error: SdxlError, failure?: Failure): void {
    if (this.failed.aborted || this.#reception.destroyed) return;
    this.#failure = failure ?? toFailure(culprit(error) ?? this.rank, error);
    this.#failed.abort(error);
    for (const pending of this.#pending) pending.reject(error);
    this.#pending.clear();
    this.#ending ??= this.#end();
    this.#changed.notify();
  }

  async #end(): Promise<void> {
    const peers = [...this.#peers.values()];
    const { closeMs, abortMs } = this.#options.timeouts;
    const deadline = Date.now() + closeMs;
    const unwatched = (): boolean => peers.every((peer) => !peer.watched);
    if (!this.failed.aborted) {
      for (const peer of peers) {
        peer.outbox.end();
        peer.tell({ notice: 'goodbye', goodbye: {} });
      }
      const finished = (): boolean => peers.every((peer) => peer.finished && peer.outbox.pending === 0);
      await this.#changed.until(() => this.failed.aborted || finished(), closeMs);
    }
    clearInterval(this.#heartbeat);
    const failure = this.#failure;
    for (const peer of peers) {
      if (failure !== undefined) {
        peer.outbox.discard();
        peer.inbox.discard();
        peer.tell({ notice: 'failure', failure });
      }
      peer.disconnect();
    }
    await this.#changed.until(unwatched, failure === undefined ? Math.max(deadline - Date.now(), 1) : abortMs);
    for (const pending of this.#pending) pending.reject(new Error('the communicator was closed'));
    this.#pending.clear();
    await this.#reception.destroy();
  }
}

async function rendezvous(options: ResolvedOptions, reception: Reception, metadata: Metadata, signal: AbortSignal): Promise<Roster> {
  const { rank, worldSize, fingerprint, coordinator, timeouts, tls } = options;
  const address = { host: advertisedHost(options), port: reception.port };
  if (rank === 0) return reception.coordinate({ rank, worldSize, address, fingerprint }, timeouts.rendezvousMs, signal);
  const request = { rank, worldSize, address, fingerprint };
  return joinGang({ coordinator, request, metadata, timeoutMs: timeouts.rendezvousMs, signal, ...(tls === undefined ? {} : { tls }) });
}

/** The rank a failure is about, where it is not the one that noticed it. */
function culprit(error: SdxlError): number | undefined {
  const rank = error.fields['rank'];
  return error.code === 'PEER_LOST' && typeof rank === 'number' ? rank : undefined;
}

function closedPeer(rank: number, { operation, tag }: Exchange): SdxlError {
  const message = `rank ${String(rank)} has closed and cannot take ${operation}#${String(tag)}: the ranks' plans differ`;
  return new SdxlError('PROTOCOL_VIOLATION', message, { fields: { rank, operation, expectedTag: tag } });
}

function cancelled(reason: unknown): SdxlError {
  if (reason instanceof SdxlError) return reason;
  const why = reason instanceof Error ? reason.message : String(reason);
  return new SdxlError('CANCELLED', `joining the gang was given up: ${why}`, { cause: reason });
}
