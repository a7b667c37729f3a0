/**
 * GroupNorm's moments in displaced runs: what a rank makes of its own fresh ones and the peers' old ones. The result stands in every
 * rank's place, so that the merge which the engine holds (Chan, Golub, LeVeque 1979) gives it back unchanged.
 */
import type { MomentsRule } from '../graph/index.js';

export interface MomentsPlace {
  /** Ranks of the group, and which of them is this one. */
  readonly ranks: number;
  readonly position: number;
}

/**
 * Rewrites `moments` `[ranks, n, 2]` (mean and biased variance of each slice; this rank's are fresh) by the rule; `previous` `[n, 2]`
 * are this rank's own of the run before, of which the peers' are.
 *
 * `corrected` (DistriFusion, section 4.2): E[x] and E[x²] of the whole as they were, plus what this rank's own have changed. With
 * means mᵢ, own old and new mean m and m', and the whole's old mean M and variance V that gives
 * M' = M + (m' − m) and V' = V + (v' − v) + 2(m' − m)(m − M), in which nothing large cancels. Where V' is negative, v' takes its place.
 */
export function joinMoments(moments: Float32Array, previous: Float32Array, { ranks, position }: MomentsPlace, rule: MomentsRule): void {
  if (rule === 'merged') return;
  const size = moments.length / ranks;
  for (let at = 0; at < size; at += 2) {
    const own = position * size + at;
    let [mean, variance] = [moments[own] ?? 0, moments[own + 1] ?? 0];
    if (rule === 'corrected') [mean, variance] = corrected(moments, size, at, own, previous);
    for (let rank = 0; rank < ranks; rank++) {
      moments[rank * size + at] = mean;
      moments[rank * size + at + 1] = variance;
    }
  }
}

function corrected(moments: Float32Array, size: number, at: number, own: number, previous: Float32Array): [number, number] {
  const [newMean, newVariance] = [moments[own] ?? 0, moments[own + 1] ?? 0];
  const [oldMean, oldVariance] = [previous[at] ?? 0, previous[at + 1] ?? 0];
  const ranks = moments.length / size;
  let [mean, within, between] = [0, 0, 0];
  for (let index = at; index < moments.length; index += size) {
    mean += (index === own ? oldMean : (moments[index] ?? 0)) / ranks;
    within += (index === own ? oldVariance : (moments[index + 1] ?? 0)) / ranks;
  }
  for (let index = at; index < moments.length; index += size) {
    between += ((index === own ? oldMean : (moments[index] ?? 0)) - mean) ** 2 / ranks;
  }
  const moved = newMean - oldMean;
  const variance = within + between + (newVariance - oldVariance) + 2 * moved * (oldMean - mean);
  return [mean + moved, variance < 0 ? newVariance : variance];
}
