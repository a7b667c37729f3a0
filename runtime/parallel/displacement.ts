/**
 * The modes of patch parallelism (Li et al. 2024, DistriFusion, section 4, and the modes of its reference implementation): what a
 * displaced step waits for. The first steps of an image are always synchronous, since everything moves much in them.
 */
import type { Displacement } from '../graph/index.js';

/** `Synchronous` first; the others from the most to the least exact. */
export const patchModes = ['Synchronous', 'SyncGn', 'CorrectedAsyncGn', 'StaleGn', 'SeparateGn', 'NoSync'] as const;
export type PatchMode = (typeof patchModes)[number];

/**
 * Boundary rows that travel with a GroupNorm's moments are as fresh as these: in `SyncGn` they come in the exchange that is waited
 * for anyway. The predicted noise is always fresh: every rank moves the same latents.
 */
const displacements: Readonly<Record<Exclude<PatchMode, 'Synchronous'>, Displacement>> = {
  SyncGn: {
    timing: { group_norm: 'fresh', group_norm_halo: 'fresh', halo: 'stale', key_value: 'stale', gather: 'fresh' },
    moments: 'merged',
  },
  CorrectedAsyncGn: {
    timing: { group_norm: 'stale', group_norm_halo: 'stale', halo: 'stale', key_value: 'stale', gather: 'fresh' },
    moments: 'corrected',
  },
  StaleGn: {
    timing: { group_norm: 'stale', group_norm_halo: 'stale', halo: 'stale', key_value: 'stale', gather: 'fresh' },
    moments: 'merged',
  },
  SeparateGn: {
    timing: { group_norm: 'frozen', group_norm_halo: 'stale', halo: 'stale', key_value: 'stale', gather: 'fresh' },
    moments: 'own',
  },
  NoSync: {
    timing: { group_norm: 'frozen', group_norm_halo: 'frozen', halo: 'frozen', key_value: 'frozen', gather: 'fresh' },
    moments: 'own',
  },
};

/** What steps after the warm-up do; undefined: they are synchronous too. */
export function displacementOf(mode: PatchMode): Displacement | undefined {
  return mode === 'Synchronous' ? undefined : displacements[mode];
}

/** Step `index` counts from 0, and steps 0 … warmupSteps are synchronous: 4 means five of them, as in the reference implementation. */
export function isWarmup(index: number, warmupSteps: number): boolean {
  return index <= warmupSteps;
}
