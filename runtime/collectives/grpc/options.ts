/** What a rank must be told to join its gang, checked once. */
import type { CommunicatorObserver, Fingerprint } from '../communicator.js';
import type { Address } from './protocol.js';
import type { TlsIdentity } from './tls.js';

export interface Timeouts {
  /** From the call of `open` until every rank has joined; engines are built before, so ranks may be minutes apart. */
  readonly rendezvousMs: number;
  /** From the call of `exchange` or `barrier` until it is complete. */
  readonly exchangeMs: number;
  readonly heartbeatIntervalMs: number;
  /** A peer silent for longer is lost. Counted in this rank's own intervals: its own stalls are not held against a peer. */
  readonly heartbeatTimeoutMs: number;
  /** How long `close` waits for the peers to close as well. */
  readonly closeMs: number;
  /** How long `abort` waits for the peers to have heard of it. */
  readonly abortMs: number;
}

const defaultTimeouts: Timeouts = {
  rendezvousMs: 600_000,
  exchangeMs: 120_000,
  heartbeatIntervalMs: 1_000,
  heartbeatTimeoutMs: 10_000,
  closeMs: 10_000,
  abortMs: 2_000,
};

export interface GrpcCommunicatorOptions {
  readonly rank: number;
  readonly worldSize: number;
  /** Where rank 0 is found (MASTER_ADDR, MASTER_PORT). Rank 0 itself binds `listen.host` and this port. */
  readonly coordinator: Address;
  /**
   * Where this rank serves its peers. Port 0: any free one; rank 0 always serves on the coordinator's port. `advertise` is
   * the name or address peers connect to; left out it is `host`, or, where that is a wildcard (`0.0.0.0`, `::`), the
   * address the coordinator sees this rank come from, which in a pod is the pod's.
   */
  readonly listen: Address & { readonly advertise?: string };
  /** The job's shared secret. */
  readonly token: string;
  /** Encrypts and authenticates every connection; undefined: plain TCP, and the token alone tells members. The same on every rank. */
  readonly tls?: TlsIdentity;
  readonly fingerprint: Fingerprint;
  readonly timeouts?: Partial<Timeouts>;
  /** Bytes of early messages held per peer before its stream is paused; what is in flight (16 MiB) comes on top. */
  readonly maxBufferedBytes?: number;
  readonly observer?: CommunicatorObserver;
  /** A caller without the job's token was turned away; told once for each host. */
  readonly onRefused?: (host: string) => void;
  /** Gives up opening; has no effect once open. */
  readonly signal?: AbortSignal;
}

export type ResolvedOptions = Omit<Required<GrpcCommunicatorOptions>, 'observer' | 'onRefused' | 'signal' | 'timeouts' | 'tls'> &
  Pick<GrpcCommunicatorOptions, 'observer' | 'onRefused' | 'signal' | 'tls'> & { readonly timeouts: Timeouts };

const wildcards: readonly string[] = ['0.0.0.0', '::', ''];

export function resolveOptions(options: GrpcCommunicatorOptions): ResolvedOptions {
  const { rank, worldSize, coordinator, listen, token } = options;
  const timeouts = { ...defaultTimeouts, ...options.timeouts };
  require(Number.isInteger(worldSize) && worldSize >= 2, 'worldSize', worldSize, 'an integer ≥ 2 (a world of one is SingleRank)');
  require(Number.isInteger(rank) && rank >= 0 && rank < worldSize, 'rank', rank, `0…${String(worldSize - 1)}`);
  require(isPort(coordinator.port) && coordinator.port !== 0, 'coordinator.port', coordinator.port, '1…65535');
  require(isPort(listen.port), 'listen.port', listen.port, '0…65535');
  require(rank !== 0 ||
    listen.port === 0 ||
    listen.port === coordinator.port, 'listen.port', listen.port, "0 or the coordinator's port on rank 0");
  require(token.length > 0, 'token', '', 'a non-empty secret');
  require(timeouts.heartbeatTimeoutMs >=
    2 *
      timeouts.heartbeatIntervalMs, 'timeouts.heartbeatTimeoutMs', timeouts.heartbeatTimeoutMs, `at least two intervals of ${String(timeouts.heartbeatIntervalMs)}`);
  for (const [name, value] of Object.entries(timeouts)) {
    require(value > 0 && value < 2 ** 31, `timeouts.${name}`, value, '1…2147483647 ms');
  }
  return { maxBufferedBytes: 256 << 20, ...options, timeouts };
}

/** The host peers connect to; empty: whatever the coordinator sees. */
export function advertisedHost({ rank, coordinator, listen }: ResolvedOptions): string {
  if (listen.advertise !== undefined) return listen.advertise;
  if (!wildcards.includes(listen.host)) return listen.host;
  return rank === 0 ? coordinator.host : '';
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 0 && port <= 65_535;
}

/** Options come from validated configuration: a bad one is a defect of the caller. */
function require(holds: boolean, name: string, value: string | number, allowed: string): void {
  if (!holds) throw new RangeError(`${name} is ${JSON.stringify(value)}: ${allowed} expected`);
}
