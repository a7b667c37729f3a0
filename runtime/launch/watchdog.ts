/**
 * Finds ranks that hang, from outside: a rank stuck in a native call or a stopped process can't tell. Two clocks run for each rank: one since
 * it was last heard of (its main thread lives), one since it last got on with its work. A rank that waits for a peer is not at fault.
 */
import type { RankPhase } from '../observe/index.js';
import { rankHung, type Failure, type NamedDeadline } from './verdict.js';

export interface Deadlines {
  readonly heartbeatMs: number;
  /** Building, joining and loading, each. */
  readonly startMs: number;
  /** Between two steps or stages of an image. */
  readonly progressMs: number;
  /** From the last image to the rank's end. */
  readonly closeMs: number;
}

export interface Watched {
  readonly rank: number;
  readonly phase: RankPhase;
  readonly waitingFor: string | null;
  /** Where in the job it last told to be; null: nowhere yet. */
  readonly at: string | null;
  silentMs: number;
  stalledMs: number;
}

export const watchIntervalMs = 250;
/** A process takes a while to load its code on a busy machine. */
const startupMs = 60_000;
/** How much later than the deadline an exchange must have failed by itself. */
const exchangeBackstopMs = 30_000;
/** Silence that bears out a peer's word that a rank is lost. */
export const suspectSilenceMs = 3_000;

/**
 * Advances the clocks by one tick and returns the ranks that hang. A tick counts at most twice its interval, so that a launcher that was itself
 * stopped or starved does not hold that against its ranks.
 */
export function tick(ranks: readonly Watched[], elapsedMs: number, deadlines: Deadlines): Failure[] {
  const step = Math.min(elapsedMs, 2 * watchIntervalMs);
  return ranks.flatMap((rank) => {
    rank.silentMs += step;
    rank.stalledMs += step;
    const silenceMs = rank.phase === 'starting' ? startupMs : deadlines.heartbeatMs;
    if (rank.silentMs >= silenceMs) return [hung(rank, 'it has been silent', rank.silentMs)];
    const limitMs = progressLimit(rank.phase, deadlines) + (rank.waitingFor === null ? 0 : exchangeBackstopMs);
    if (rank.stalledMs < limitMs) return [];
    const at = rank.phase === 'running' && rank.at !== null ? ` (${rank.at})` : '';
    const where = rank.waitingFor === null ? '' : `, waiting in ${rank.waitingFor},`;
    return [hung(rank, `it has made no progress while ${rank.phase}${at}${where}`, rank.stalledMs, deadlineOf(rank.phase, deadlines))];
  });
}

function hung(rank: Watched, what: string, ms: number, deadline?: NamedDeadline): Failure {
  return { rank: rank.rank, error: rankHung(rank.rank, what, ms / 1000, deadline) };
}

/** The job's field behind {@link progressLimit}; undefined where no field sets it. */
function deadlineOf(phase: RankPhase, { startMs, progressMs }: Deadlines): NamedDeadline | undefined {
  if (phase === 'running') return { name: 'progressDeadlineSeconds', seconds: progressMs / 1000 };
  const starts = phase === 'building' || phase === 'joining' || phase === 'loading';
  return starts ? { name: 'rendezvousTimeoutSeconds', seconds: startMs / 1000 } : undefined;
}

function progressLimit(phase: RankPhase, deadlines: Deadlines): number {
  switch (phase) {
    case 'starting':
      return startupMs;
    case 'building':
    case 'loading':
      return deadlines.startMs;
    case 'joining':
      // The rendezvous keeps its own deadline and names who is missing.
      return deadlines.startMs + exchangeBackstopMs;
    case 'running':
      return deadlines.progressMs;
    case 'closing':
    case 'done':
    case 'failed':
      return deadlines.closeMs;
  }
}
