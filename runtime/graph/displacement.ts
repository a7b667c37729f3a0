/**
 * When the values of peers enter a collective. In a fresh run every exchange is sent, waited for and used. A displaced run
 * (Li et al. 2024, DistriFusion, section 4.2) uses for some of them what the peers sent in the run before, so that the exchange
 * travels while the ranks compute. Segments, and with them the engine, are the same: only buffers and waits differ.
 */

/** What a collective is for; also its label in metrics. */
export type CollectiveLabel = 'group_norm' | 'group_norm_halo' | 'halo' | 'key_value' | 'gather';

/**
 * - `fresh`: sent, waited for, used.
 * - `stale`: sent without waiting and used by the next run; this run uses the peers' values of the run before.
 * - `frozen`: not sent; the peers' values stay those of the last run that received any.
 *
 * A rank's own value is fresh in all of them.
 */
export type ExchangeTiming = 'fresh' | 'stale' | 'frozen';

/**
 * What a displaced run makes of GroupNorm's moments.
 * - `merged`: those of all ranks, as they are.
 * - `corrected`: the whole's of the run before, moved by as much as this rank's own have changed since.
 * - `own`: this rank's alone.
 */
export type MomentsRule = 'merged' | 'corrected' | 'own';

export interface Displacement {
  readonly timing: Readonly<Record<CollectiveLabel, ExchangeTiming>>;
  readonly moments: MomentsRule;
}
