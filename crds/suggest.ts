/** "Did you mean": the known word nearest to a misspelt one. */

/** The candidate nearest to `word`, or undefined where none is near. Case, `_` and `-` count for nothing. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const folded = fold(word);
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(folded.length / 3)) + 1;
  for (const candidate of candidates) {
    const other = fold(candidate);
    if (Math.abs(other.length - folded.length) >= bestDistance) continue;
    const distance = editDistance(folded, other);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/**
 * The value of an enumeration that is meant: the nearest, or one that begins as the word does, such as EulerDiscrete for Euler
 * and for EulerDiscreteScheduler.
 */
export function nearestValue(word: string, values: readonly string[]): string | undefined {
  const near = nearest(word, values);
  if (near !== undefined) return near;
  const letters = fold(word).replaceAll(/[^a-z0-9]/gu, '');
  const shared = values.map((value) => sharedStart(letters, fold(value)));
  const longest = Math.max(...shared);
  return longest >= minSharedLength ? values[shared.indexOf(longest)] : undefined;
}

/** Below, words that have nothing to do with each other begin alike. */
const minSharedLength = 3;

function sharedStart(a: string, b: string): number {
  let length = 0;
  while (length < a.length && a[length] === b[length]) length++;
  return length;
}

function fold(word: string): string {
  return word.slice(0, 64).toLowerCase().replaceAll(/[_-]/gu, '');
}

/** Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours. */
function editDistance(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let distance = Math.min((last[column] ?? 0) + 1, (current[column - 1] ?? 0) + 1, (last[column - 1] ?? 0) + (same ? 0 : 1));
      const swapped = row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (swapped) distance = Math.min(distance, (beforeLast[column - 2] ?? 0) + 1);
      current.push(distance);
    }
    [beforeLast, last] = [last, current];
  }
  return last[b.length] ?? 0;
}
