import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { joinMoments } from '../../../runtime/engine/index.js';

interface Moments {
  readonly mean: number;
  readonly variance: number;
}

const moments = fc.record({ mean: fc.integer({ min: -64, max: 64 }), variance: fc.integer({ min: 0, max: 64 }) });
const pack = (rows: readonly Moments[]): Float32Array => Float32Array.from(rows.flatMap(({ mean, variance }) => [mean, variance]));

/** As DistriFusion's reference implementation does it: by E[x] and E[x²], in double precision. */
function reference(old: readonly Moments[], position: number, fresh: Moments): Moments {
  const own = old[position] ?? assert.fail();
  const average = (of: (row: Moments) => number): number => old.reduce((sum, row) => sum + of(row), 0) / old.length;
  const square = ({ mean, variance }: Moments): number => variance + mean ** 2;
  const mean = average((row) => row.mean) + fresh.mean - own.mean;
  const variance = average(square) + square(fresh) - square(own) - mean ** 2;
  return { mean, variance: variance < 0 ? fresh.variance : variance };
}

function join(old: readonly Moments[], position: number, fresh: Moments, rule: 'merged' | 'corrected' | 'own'): number[] {
  const joined = pack(old.with(position, fresh));
  joinMoments(joined, pack([old[position] ?? assert.fail()]), { ranks: old.length, position }, rule);
  return [...joined];
}

describe('moments of a displaced run', () => {
  const cases = fc
    .array(moments, { minLength: 2, maxLength: 5 })
    .chain((old) => fc.record({ old: fc.constant(old), position: fc.nat(old.length - 1), fresh: moments }));

  it('corrected: the reference’s E[x] and E[x²], in every place', () => {
    fc.assert(
      fc.property(cases, ({ old, position, fresh }) => {
        const { mean, variance } = reference(old, position, fresh);
        const joined = join(old, position, fresh, 'corrected');
        for (const [index, value] of joined.entries()) {
          const expected = index % 2 === 0 ? mean : variance;
          // Whether a variance of about zero is negative is a matter of rounding.
          const isEdge = index % 2 === 1 && Math.min(Math.abs(variance), Math.abs(value - fresh.variance)) < 1e-2;
          assert.ok(isEdge || Math.abs(value - expected) <= 1e-3 * (1 + Math.abs(expected)), `${String(value)}, not ${String(expected)}`);
        }
      }),
    );
  });

  it('corrected: its own variance where the corrected one is negative', () => {
    const old = [
      { mean: 0, variance: 9 },
      { mean: 0, variance: 1 },
    ];
    assert.deepEqual(join(old, 0, { mean: 2, variance: 0.5 }, 'corrected'), [2, 0.5, 2, 0.5]);
  });

  it('corrected without a change: the merge of what was', () => {
    const old = [
      { mean: 1, variance: 2 },
      { mean: 3, variance: 4 },
    ];
    assert.deepEqual(join(old, 1, { mean: 3, variance: 4 }, 'corrected'), [2, 4, 2, 4]);
  });

  it('corrected: large means do not cancel', () => {
    const old = [
      { mean: 4096, variance: 1 },
      { mean: 4097, variance: 1 },
    ];
    const [mean, variance] = join(old, 0, { mean: 4096.5, variance: 1.5 }, 'corrected');
    // E[x²] − E[x]² in fp32 would be off by more than the variance itself.
    assert.deepEqual([mean, variance], [4097, 1.25]);
  });

  it('own: this rank’s in every place', () => {
    const old = [
      { mean: 1, variance: 2 },
      { mean: 3, variance: 4 },
      { mean: 5, variance: 6 },
    ];
    assert.deepEqual(join(old, 1, { mean: 7, variance: 8 }, 'own'), [7, 8, 7, 8, 7, 8]);
  });

  it('merged: left as they are', () => {
    const old = [
      { mean: 1, variance: 2 },
      { mean: 3, variance: 4 },
    ];
    assert.deepEqual(join(old, 0, { mean: 7, variance: 8 }, 'merged'), [7, 8, 3, 4]);
  });
});
