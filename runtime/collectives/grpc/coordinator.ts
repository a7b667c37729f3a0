/**
 * Rank 0's side of the rendezvous: hands out the seats of the gang and, when every rank has one and all say the same,
 * the roster. Knows no sockets: whoever asks is an {@link Applicant}.
 */
import { randomUUID } from 'node:crypto';
import { SdxlError } from '../../errors/index.js';
import type { Fingerprint } from '../communicator.js';
import { compareFingerprints, nameRanks } from './fingerprint.js';
import type { Address, Roster } from './protocol.js';

/** One process that asks for a rank's seat. Exactly one of `accept` and `refuse` is called, once. */
export interface Applicant {
  readonly rank: number;
  readonly worldSize: number;
  readonly instance: string;
  readonly address: Address;
  readonly fingerprint: Fingerprint;
  waiting(missing: readonly number[]): void;
  accept(roster: Roster): void;
  refuse(error: SdxlError): void;
}

export class Coordinator {
  readonly #worldSize: number;
  readonly #seats = new Map<number, Applicant>();
  /** Who was turned away while the gang formed: often the very rank that is missing. */
  readonly #refusals = new Set<string>();
  #state: 'forming' | 'formed' | 'failed' = 'forming';

  constructor(worldSize: number) {
    this.#worldSize = worldSize;
  }

  get missing(): number[] {
    return Array.from({ length: this.#worldSize }, (_, rank) => rank).filter((rank) => !this.#seats.has(rank));
  }

  /** Seats the applicant or refuses it with the reason; a refusal never disturbs those already seated. */
  admit(applicant: Applicant): void {
    const refusal = this.#reasonToRefuse(applicant);
    if (refusal !== undefined) {
      if (this.#state === 'forming') this.noteRefusal(refusal.message);
      applicant.refuse(refusal);
      return;
    }
    this.#seats.set(applicant.rank, applicant);
    const missing = this.missing;
    if (missing.length > 0) {
      for (const seated of this.#seats.values()) seated.waiting(missing);
      return;
    }
    const mismatch = this.#compare();
    if (mismatch !== undefined) {
      this.fail(mismatch);
      return;
    }
    this.#state = 'formed';
    const members = [...this.#seats].map(([rank, { address }]) => ({ rank, address })).sort((a, b) => a.rank - b.rank);
    const roster: Roster = { gang: randomUUID(), members };
    for (const seated of this.#seats.values()) seated.accept(roster);
  }

  /** The applicant has gone: while the gang forms, its seat is free again. */
  withdraw(applicant: Applicant): void {
    if (this.#state !== 'forming' || this.#seats.get(applicant.rank) !== applicant) return;
    this.#seats.delete(applicant.rank);
    const missing = this.missing;
    for (const seated of this.#seats.values()) seated.waiting(missing);
  }

  /** Remembers a caller that was turned away, for the message of a timeout. */
  noteRefusal(message: string): void {
    if (this.#refusals.size < 10) this.#refusals.add(message);
  }

  /** The rendezvous deadline has passed: everyone seated is told who is missing. */
  expire(timeoutMs: number): void {
    if (this.#state !== 'forming') return;
    // Ranks that differ would not have formed a gang either, and waiting longer would not help them.
    this.fail(this.#compare() ?? rendezvousTimeout(this.missing, timeoutMs, [...this.#refusals]));
  }

  /** No gang will form: everyone seated, and everyone who still comes, is refused with `error`. */
  fail(error: SdxlError): void {
    if (this.#state !== 'forming') return;
    this.#state = 'failed';
    for (const seated of this.#seats.values()) seated.refuse(error);
  }

  #compare(): SdxlError | undefined {
    return compareFingerprints(new Map([...this.#seats].map(([rank, { fingerprint }]) => [rank, fingerprint])));
  }

  #reasonToRefuse(applicant: Applicant): SdxlError | undefined {
    const { rank, worldSize, instance } = applicant;
    const seated = this.#seats.get(rank);
    if (worldSize !== this.#worldSize) {
      return mismatch(`rank ${String(rank)} was started for ${String(worldSize)} ranks, this gang has ${String(this.#worldSize)}`, {
        rank,
        field: 'worldSize',
        value: worldSize,
        expected: this.#worldSize,
      });
    }
    if (!Number.isInteger(rank) || rank < 0 || rank >= this.#worldSize) {
      const allowed = `0…${String(this.#worldSize - 1)}`;
      return mismatch(`rank ${String(rank)} is not a rank of this gang: ${allowed} are`, {
        rank,
        field: 'rank',
        value: rank,
        expected: allowed,
      });
    }
    if (this.#state !== 'forming') {
      return new SdxlError(
        'RENDEZVOUS_REFUSED',
        `rank ${String(rank)} comes too late: the gang ${this.#state === 'formed' ? 'has formed' : 'could not form'} without ` +
          'this process; a new attempt takes it in',
        { fields: { rank } },
      );
    }
    if (seated !== undefined && seated.instance !== instance) {
      return mismatch(
        `rank ${String(rank)} has already joined from ${seated.address.host}:${String(seated.address.port)}: ` +
          'give each process a rank of its own',
        { rank, field: 'rank', value: rank, expected: 'a rank not yet taken' },
      );
    }
    return undefined;
  }
}

function mismatch(message: string, fields: Readonly<Record<string, string | number>>): SdxlError {
  return new SdxlError('RENDEZVOUS_MISMATCH', message, { fields });
}

export function rendezvousTimeout(
  missing: readonly number[],
  timeoutMs: number,
  refusals: readonly string[] = [],
  cause?: unknown,
): SdxlError {
  const turnedAway = refusals.length === 0 ? '' : `; turned away meanwhile: ${refusals.join('; ')}`;
  return new SdxlError(
    'RENDEZVOUS_TIMEOUT',
    `${nameRanks(missing)} did not join within ${String(timeoutMs)} ms: see why ${missing.length > 1 ? 'they' : 'it'} did not ` +
      `start, or raise the rendezvous timeout${turnedAway}`,
    { fields: { rank: missing[0] ?? 0, ranks: missing, timeoutMs }, ...(cause === undefined ? {} : { cause }) },
  );
}
