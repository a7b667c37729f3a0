/**
 * One of several replicas leads: the holder of a Lease. A holder that has not renewed its Lease for the renew deadline stops leading before
 * any other replica may take the Lease over, by the monotonic clock of each: no time of one machine is compared with another's.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { ApiError } from './api-error.js';
import type { ApiClient } from './client.js';
import { pathOf, resources, type KubeObject } from './objects.js';

export interface ElectionOptions {
  readonly client: ApiClient;
  readonly namespace: string;
  readonly name: string;
  /** Unique to this process. */
  readonly identity: string;
  readonly timing?: ElectionTiming;
  readonly log: (message: string, error?: unknown) => void;
}

export interface ElectionTiming {
  /** How long a Lease that nobody renews is respected. */
  readonly leaseMs: number;
  /** How long after its last renewal the holder leads. */
  readonly renewMs: number;
  readonly retryMs: number;
}

interface Lease extends KubeObject {
  readonly spec?: {
    readonly holderIdentity?: string;
    readonly leaseDurationSeconds?: number;
    readonly acquireTime?: string;
    readonly renewTime?: string;
    readonly leaseTransitions?: number;
  };
}

const defaultTiming: ElectionTiming = { leaseMs: 15_000, renewMs: 10_000, retryMs: 2_000 };
/** A call that started in time must have ended before the Lease may be taken over. */
const marginMs = 1_000;
/** What a Lease says of its own duration is respected up to so many of ours: it may have been written by hand. */
const longestLease = 10;
const maxInt32 = 0x7fff_ffff;

export class LeaderElection {
  readonly #options: ElectionOptions;
  readonly #timing: ElectionTiming;
  /** The Lease as last read, and when it was first read like that. */
  #seen: { readonly version: string; readonly holder: string; readonly respectMs: number; readonly at: number } | undefined;
  /** When the call started that renewed the Lease last. */
  #renewedAt: number | undefined;

  constructor(options: ElectionOptions) {
    this.#options = options;
    this.#timing = options.timing ?? defaultTiming;
  }

  get isLeader(): boolean {
    return this.#renewedAt !== undefined && performance.now() - this.#renewedAt < this.#timing.renewMs;
  }

  /** How long a write that starts now may take; 0 where this process does not lead. */
  mayWriteForMs(): number {
    if (this.#renewedAt === undefined || !this.isLeader) return 0;
    return Math.max(0, this.#renewedAt + this.#timing.leaseMs - marginMs - performance.now());
  }

  /**
   * Leads whenever it can: runs `lead` with a signal that aborts when leadership is lost or `signal` aborts. The Lease is given back once `lead`
   * has ended. Resolves after `signal` aborts.
   */
  async run(lead: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      if (await this.#acquire(signal)) await this.#term(lead, signal);
      else await pause(this.#timing.retryMs * (0.8 + Math.random() * 0.4), signal);
    }
  }

  async #term(lead: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
    const { log, identity } = this.#options;
    log(`${identity} leads`);
    const term = new AbortController();
    const over = (): void => {
      term.abort(new Error('the operator is ending'));
    };
    signal.addEventListener('abort', over, { once: true });
    const done = lead(term.signal).finally(() => {
      term.abort(new Error('the work is over'));
    });
    for (;;) {
      await pause(this.#timing.retryMs, term.signal);
      if (term.signal.aborted) break;
      await this.#acquire(term.signal);
      if (!this.isLeader) {
        log(`${identity} could not renew the Lease and stops leading`);
        term.abort(new Error('leadership is lost'));
      }
    }
    signal.removeEventListener('abort', over);
    await done;
    await this.#release();
  }

  /** Takes or renews the Lease if it is free, expired or held by this process. */
  async #acquire(signal: AbortSignal): Promise<boolean> {
    const { client, namespace, name, identity, log } = this.#options;
    const started = performance.now();
    try {
      const lease = await client.get<Lease>(resources.lease, namespace, name, signal);
      if (this.#isTaken(lease)) {
        // Whoever has taken it leads from now on, however long it was this process's.
        if (lease !== undefined) this.#renewedAt = undefined;
        return false;
      }
      await this.#write(lease, identity, lease?.spec?.holderIdentity === identity, signal);
      this.#renewedAt = started;
      return true;
    } catch (error) {
      // Another replica was first, or the server does not answer: the clock decides, not this call.
      if (!signal.aborted && !(error instanceof ApiError && error.isConflict)) log('the Lease could not be written', error);
      return false;
    }
  }

  /** Somebody else holds it and may have renewed it. One that was deleted counts as it was last seen: its holder does not know of it yet. */
  #isTaken(lease: Lease | undefined): boolean {
    const version = lease?.metadata.resourceVersion ?? '';
    if (lease !== undefined && this.#seen?.version !== version) {
      const { leaseMs } = this.#timing;
      const { holderIdentity: holder = '', leaseDurationSeconds: seconds = 0 } = lease.spec ?? {};
      const respectMs = Math.min(Math.max(seconds * 1000, leaseMs), leaseMs * longestLease);
      this.#seen = { version, holder, respectMs, at: performance.now() };
    }
    if (this.#seen === undefined || this.#seen.holder === '' || this.#seen.holder === this.#options.identity) return false;
    return performance.now() - this.#seen.at <= this.#seen.respectMs;
  }

  async #write(lease: Lease | undefined, holder: string, kept: boolean, signal: AbortSignal): Promise<void> {
    const { client, namespace, name } = this.#options;
    const now = new Date().toISOString().replace('Z', '000Z'); // MicroTime
    const transitions = lease?.spec?.leaseTransitions ?? 0;
    const body: Lease = {
      ...(lease ?? { metadata: { name, namespace } }),
      spec: {
        holderIdentity: holder,
        leaseDurationSeconds: holder === '' ? 1 : this.#timing.leaseMs / 1000,
        acquireTime: kept ? (lease?.spec?.acquireTime ?? now) : now,
        renewTime: now,
        leaseTransitions: kept || lease === undefined ? transitions : Math.min(transitions + 1, maxInt32),
      },
    };
    if (lease === undefined) await client.create(resources.lease, body, signal);
    else {
      const object = { apiVersion: 'coordination.k8s.io/v1', kind: 'Lease', ...body };
      await client.call({ verb: 'PUT', path: pathOf(resources.lease, namespace, name), body: object, signal });
    }
  }

  /** Gives the Lease back, so that nobody has to wait for its end. */
  async #release(): Promise<void> {
    const { client, namespace, name, identity, log } = this.#options;
    const led = this.isLeader;
    this.#renewedAt = undefined;
    if (!led) return;
    try {
      const signal = AbortSignal.timeout(this.#timing.retryMs);
      const lease = await client.get<Lease>(resources.lease, namespace, name, signal);
      if (lease?.spec?.holderIdentity === identity) await this.#write(lease, '', false, signal);
    } catch (error) {
      log('the Lease could not be given back; it will expire', error);
    }
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await delay(ms, undefined, { signal }).catch(() => undefined);
}
