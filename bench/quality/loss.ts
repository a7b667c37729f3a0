/** How much less is recognised, where the same pictures are made in two ways. */

export interface Loss {
  /** Of a hundred pictures; negative where more are recognised. */
  readonly points: number;
  /** 95 % confidence interval. */
  readonly low: number;
  readonly high: number;
}

/**
 * Pairs are compared, not shares: only pictures that are recognised in one way and not in the other count. The interval is that of
 * Agresti and Min (2005), which stands at few or no such pairs too.
 */
export function lossOf(pairs: readonly { readonly recognised: boolean; readonly alone: boolean }[]): Loss {
  const lost = pairs.filter(({ recognised, alone }) => alone && !recognised).length;
  const won = pairs.filter(({ recognised, alone }) => recognised && !alone).length;
  // Half a pair in each of the four cells.
  const [b, c, n] = [lost + 0.5, won + 0.5, pairs.length + 2];
  const middle = (b - c) / n;
  const deviation = Math.sqrt(b + c - (b - c) ** 2 / n) / n;
  return {
    points: (100 * (lost - won)) / pairs.length,
    low: 100 * (middle - 1.96 * deviation),
    high: 100 * (middle + 1.96 * deviation),
  };
}
