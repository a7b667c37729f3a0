/**
 * What ranks say to each other while they compute: one interface over every transport.
 *
 * A graph's collective node (all-gather, neighbour rows, several payloads at once) is reduced by the executor to one
 * {@link Exchange}: per peer, the byte ranges to send and the byte ranges to fill. A communicator moves bytes; it knows
 * neither tensors nor meshes nor Kubernetes. Implementations: `grpc/` (host memory). Every implementation passes the
 * conformance suite in test/conformance/communicator.ts.
 *
 * Contract:
 * - Every rank issues its exchanges in the same order. Messages between two ranks are matched in that order, and each
 *   carries its tag: a different tag or size at the receiver is a PROTOCOL_VIOLATION that names both, never a wrong tensor.
 * - Several exchanges may be outstanding at once (displaced patches); each pair of ranks keeps FIFO order.
 * - `exchange` resolves once every receive range is filled and everything sent has left: the send ranges may be reused, and the thread may block.
 * - Every wait has a deadline. When any rank aborts, dies or hangs, `failed` aborts on all others with an
 *   {@link SdxlError} that names that rank, and all pending and future calls reject with it: PEER_LOST for a death or a
 *   hang, PEER_ABORTED (fields `rank`, `causeCode`, `retriable`) for anything another rank failed of. A cause that must not
 *   be retried unchanged gives every rank its exit code, see {@link SdxlError.exitCode}.
 * - An exchange that was started cannot be taken back: its deadline or its signal ends the gang, since no later message
 *   could be matched. A signal that is aborted before the call only rejects the call.
 * - Once an exchange has rejected, its ranges are not touched any more; what the receives hold then is undefined.
 */
import type { SdxlError } from '../errors/index.js';

/** Byte ranges to or from one peer, in order. Ranges are views owned by the caller; receives are filled in place. */
export interface Message<Memory = Uint8Array> {
  readonly peer: number;
  readonly parts: readonly Memory[];
}

export interface Exchange<Memory = Uint8Array> {
  /** What the exchange is for, as a metric label: `halo`, `group_norm`, `group_norm_halo`, `key_value`, `gather`, … */
  readonly operation: string;
  /** The collective's number in the plan, equal on every rank (0 … 2³²−1). */
  readonly tag: number;
  readonly sends: readonly Message<Memory>[];
  readonly receives: readonly Message<Memory>[];
}

export interface Communicator<Memory = Uint8Array> extends AsyncDisposable {
  readonly rank: number;
  readonly worldSize: number;
  /** Aborts with the {@link SdxlError} that ended the gang. */
  readonly failed: AbortSignal;

  /**
   * See the module's contract. Once it has resolved, what this rank sends has left: the caller may block its thread right after. Rejects with the signal's reason when `signal` aborts, and with a plain Error, a defect,
   * after `close` or for a peer that is not of this world.
   */
  exchange(exchange: Exchange<Memory>, signal?: AbortSignal): Promise<void>;

  /** Resolves when every rank has arrived. */
  barrier(signal?: AbortSignal): Promise<void>;

  /**
   * Tells every rank that this one failed, with the cause. Resolves once told, or at the abort deadline, when nothing is
   * left open. Idempotent; after `close` it only waits.
   */
  abort(error: SdxlError): Promise<void>;

  /**
   * Orderly end: waits (bounded) until every peer closes as well, so that no goodbye is taken for a death. Never rejects:
   * `failed` tells whether the gang failed meanwhile. Nothing is left open then. Idempotent.
   */
  close(): Promise<void>;
}

/** What must be equal on every rank before the first exchange; compared field by field at rendezvous. */
export interface Fingerprint {
  /** Version of this package. */
  readonly version: string;
  readonly modelDigest: string;
  readonly backend: string;
  readonly dtype: string;
  /** For example `cfg=1,patch=2`. */
  readonly mesh: string;
  /** Digest of the partitioned plans. */
  readonly plan: string;
  /** Digest of the job's resolved parameters. */
  readonly job: string;
}

/** Observes a communicator; each callback is optional work for metrics and must not throw. */
export interface CommunicatorObserver {
  exchanged(event: {
    readonly operation: string;
    readonly seconds: number;
    readonly sentBytes: number;
    readonly receivedBytes: number;
  }): void;
}

/** The communicator of a world of one: nothing to exchange with. */
export class SingleRank implements Communicator {
  readonly rank = 0;
  readonly worldSize = 1;
  readonly failed: AbortSignal;
  readonly #controller = new AbortController();
  #closed = false;

  constructor() {
    this.failed = this.#controller.signal;
  }

  async exchange(exchange: Exchange, signal?: AbortSignal): Promise<void> {
    this.#check(exchange.operation, signal);
    if (exchange.sends.length > 0 || exchange.receives.length > 0) {
      throw new RangeError(`exchange ${exchange.operation}#${String(exchange.tag)} names peers in a world of one`);
    }
  }

  async barrier(signal?: AbortSignal): Promise<void> {
    this.#check('barrier', signal);
  }

  async abort(error: SdxlError): Promise<void> {
    if (!this.#closed) this.#controller.abort(error);
  }

  async close(): Promise<void> {
    this.#closed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #check(operation: string, signal: AbortSignal | undefined): void {
    this.failed.throwIfAborted();
    signal?.throwIfAborted();
    if (this.#closed) throw new Error(`${operation} was called after close`);
  }
}
