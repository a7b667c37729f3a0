/** Finds the rank whose fingerprint is not like the others'. */
import { SdxlError } from '../../errors/index.js';
import type { Fingerprint } from '../communicator.js';

export const fingerprintFields = [
  'version',
  'modelDigest',
  'backend',
  'dtype',
  'mesh',
  'plan',
  'job',
] as const satisfies readonly (keyof Fingerprint)[];

/**
 * Compares the ranks field by field. Where they differ the majority is right (in a tie, the side of the lowest rank), and
 * the error names the first field that differs, each odd rank with its value, and the value of the others.
 */
export function compareFingerprints(fingerprints: ReadonlyMap<number, Fingerprint>): SdxlError | undefined {
  const ranks = [...fingerprints].sort(([a], [b]) => a - b);
  for (const field of fingerprintFields) {
    const groups = new Map<string, number[]>();
    for (const [rank, fingerprint] of ranks) {
      const group = groups.get(fingerprint[field]);
      if (group === undefined) groups.set(fingerprint[field], [rank]);
      else group.push(rank);
    }
    if (groups.size <= 1) continue;
    // Stable: of groups of one size, the one that holds the lowest rank comes first.
    const [majority, ...odd] = [...groups].sort(([, a], [, b]) => b.length - a.length);
    const [firstOdd] = odd;
    if (majority === undefined || firstOdd === undefined) continue;
    const [expected, agreeing] = majority;
    const told = odd.map(([value, of]) => `${nameRanks(of)} ${of.length > 1 ? 'have' : 'has'} ${JSON.stringify(value)}`);
    const verb = agreeing.length > 1 ? 'have' : 'has';
    return new SdxlError(
      'RENDEZVOUS_MISMATCH',
      `the ranks differ in ${field}: ${told.join(', ')}, ${nameRanks(agreeing)} ${verb} ${JSON.stringify(expected)}: ` +
        'start every rank with the same version, model and job',
      {
        fields: {
          field,
          rank: firstOdd[1][0] ?? 0,
          ranks: odd.flatMap(([, of]) => of).sort((a, b) => a - b),
          value: firstOdd[0],
          expected,
        },
      },
    );
  }
  return undefined;
}

/** `rank 1`, `ranks 1, 2 and 3`. */
export function nameRanks(ranks: readonly number[]): string {
  const names = ranks.map(String);
  const last = names.pop() ?? 'none';
  return names.length === 0 ? `rank ${last}` : `ranks ${names.join(', ')} and ${last}`;
}
