/**
 * Where peers' calls arrive: rank 0's rendezvous, and the subscriptions of a gang's members. Subscriptions may come before
 * this rank has its own roster; they wait. One of another gang, or a second of the same rank, is refused.
 */
import { Metadata } from '@grpc/grpc-js';
import { SdxlError } from '../../errors/index.js';
import { hostOfPeer } from './channel.js';
import { orAborted } from './condition.js';
import { Coordinator, type Applicant } from './coordinator.js';
import { statusOf } from './failure.js';
import { Host, type ReceiveCall, type WatchCall } from './host.js';
import type { ResolvedOptions } from './options.js';
import type { Peer } from './peer.js';
import type { Roster } from './protocol.js';
import { joinLocally, serveJoin } from './rendezvous.js';

interface Gang {
  readonly id: string;
  readonly peers: ReadonlyMap<number, Peer>;
}

/** Of how many hosts a refusal is told: whoever scans a network must not fill the log. */
const maxRefusedHosts = 32;

export class Reception {
  readonly #rank: number;
  readonly #coordinator: Coordinator | undefined;
  #host: Host | undefined;
  #gang: Gang | undefined;
  #early: (() => void)[] = [];
  #destroyed = false;

  private constructor(rank: number, coordinator: Coordinator | undefined) {
    this.#rank = rank;
    this.#coordinator = coordinator;
  }

  /** Binds this rank's address. */
  static async open({ rank, worldSize, coordinator: at, listen, token, tls, onRefused }: ResolvedOptions): Promise<Reception> {
    const coordinator = rank === 0 ? new Coordinator(worldSize) : undefined;
    const reception = new Reception(rank, coordinator);
    const refusedHosts = new Set<string>();
    reception.#host = await Host.open(
      { host: listen.host, port: rank === 0 ? at.port : listen.port },
      { token, worldSize, tls },
      {
        ...(coordinator === undefined
          ? {}
          : {
              join: (call) => {
                serveJoin(coordinator, call);
              },
            }),
        receive: (call) => {
          reception.#subscribe(call, (peer) => peer.attachReceiver(call));
        },
        watch: (call) => {
          reception.#subscribe(call, (peer) => peer.attachWatcher(call));
        },
        refused: (from) => {
          coordinator?.noteRefusal(`a call from ${from} without the job's token`);
          const host = hostOfPeer(from);
          if (refusedHosts.has(host) || refusedHosts.size >= maxRefusedHosts) return;
          refusedHosts.add(host);
          onRefused?.(host);
        },
      },
    );
    return reception;
  }

  get port(): number {
    return this.#host?.port ?? 0;
  }

  get destroyed(): boolean {
    return this.#destroyed;
  }

  /** Rank 0: takes its own seat and waits for the others. */
  async coordinate(
    seat: Pick<Applicant, 'rank' | 'worldSize' | 'address' | 'fingerprint'>,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<Roster> {
    const coordinator = this.#coordinator;
    if (coordinator === undefined) throw new Error(`rank ${String(this.#rank)} does not coordinate`);
    const timer = setTimeout(() => {
      coordinator.expire(timeoutMs);
    }, timeoutMs);
    try {
      return await orAborted(joinLocally(coordinator, seat), signal);
    } finally {
      clearTimeout(timer);
    }
  }

  /** The gang is known: subscriptions of its members are taken from now on. */
  admit(id: string, peers: ReadonlyMap<number, Peer>): void {
    this.#gang = { id, peers };
    const early = this.#early;
    this.#early = [];
    for (const subscribe of early) subscribe();
  }

  /** No gang has formed: who waits for it is told the reason, for `graceMs` at most, then every socket is released. */
  async refuse(reason: SdxlError, graceMs: number): Promise<void> {
    this.#coordinator?.fail(reason);
    // A rank that has read its refusal hangs up.
    if (this.#coordinator !== undefined) await this.#host?.deserted(graceMs);
    await this.destroy();
  }

  /** Releases every socket. Idempotent. */
  async destroy(): Promise<void> {
    if (this.#destroyed) return;
    this.#destroyed = true;
    await this.#host?.destroy();
  }

  #subscribe(call: ReceiveCall | WatchCall, attach: (peer: Peer) => boolean): void {
    const { gang: id, rank } = call.request;
    if (this.#gang === undefined) {
      this.#early.push(() => {
        this.#subscribe(call, attach);
      });
      return;
    }
    const peer = this.#gang.id === id ? this.#gang.peers.get(rank) : undefined;
    if (call.cancelled) return;
    if (peer === undefined || !attach(peer)) {
      const why = peer === undefined ? 'is not of this gang' : 'is already subscribed';
      const error = new SdxlError('RENDEZVOUS_REFUSED', `a subscription in the name of rank ${String(rank)} ${why}`, {
        fields: { rank },
      });
      call.emit('error', statusOf(error, this.#rank));
      return;
    }
    call.sendMetadata(new Metadata());
  }
}
