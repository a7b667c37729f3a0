/**
 * Byte pair encoding of one word: repeatedly joins the neighbouring pair that was learnt first. Source: Sennrich, Haddow and
 * Birch 2016, "Neural Machine Translation of Rare Words with Subword Units", section 3.2; `</w>` marks the end of a word.
 */

export const endOfWord = '</w>';

/** Joins in order of learning; the index is the rank. */
export type Merges = readonly (readonly [string, string])[];

export class BytePairEncoder {
  readonly #vocabulary: ReadonlyMap<string, number>;
  readonly #ranks: ReadonlyMap<string, number>;

  /** `vocabulary` holds every symbol that the alphabet and `merges` can make; the caller has checked that. */
  constructor(vocabulary: ReadonlyMap<string, number>, merges: Merges) {
    this.#vocabulary = vocabulary;
    this.#ranks = new Map(merges.map(([left, right], rank) => [pairKey(left, right), rank]));
  }

  /** Ids of a word given as single symbols, the last of which takes the end-of-word mark. Time n·log n in the word's length. */
  encode(chars: readonly string[]): number[] {
    const symbols: (string | undefined)[] = chars.map((char, at) => (at === chars.length - 1 ? char + endOfWord : char));
    // A list through the array: a join keeps its left place and takes the right one out.
    const next = symbols.map((_, at) => at + 1);
    const previous = symbols.map((_, at) => at - 1);
    const queue = new NumberHeap();
    const rankAt = (at: number): number | undefined => {
      const left = symbols[at];
      const right = symbols[next[at] ?? symbols.length];
      return left === undefined || right === undefined ? undefined : this.#ranks.get(pairKey(left, right));
    };
    const offer = (at: number): void => {
      const rank = rankAt(at);
      if (rank !== undefined) queue.push(rank * positions + at);
    };
    for (let at = 0; at + 1 < symbols.length; at++) offer(at);
    for (let item = queue.pop(); item !== undefined; item = queue.pop()) {
      const at = item % positions;
      if (rankAt(at) !== Math.floor(item / positions)) continue; // The pair was joined with something else since.
      const right = next[at] ?? symbols.length;
      symbols[at] = `${symbols[at] ?? ''}${symbols[right] ?? ''}`;
      symbols[right] = undefined;
      const after = next[right] ?? symbols.length;
      next[at] = after;
      if (after < symbols.length) previous[after] = at;
      offer(at);
      const before = previous[at] ?? -1;
      if (before >= 0) offer(before);
    }
    return symbols.filter((symbol) => symbol !== undefined).map((symbol) => this.#id(symbol));
  }

  #id(symbol: string): number {
    const id = this.#vocabulary.get(symbol);
    if (id === undefined) throw new Error(`symbol ${symbol} is not in the vocabulary`);
    return id;
  }
}

/** Rank and position share one number: ranks come first, then places from the left. 2^32 positions leave 2^21 ranks. */
const positions = 2 ** 32;

/** Symbols hold no blank: the byte alphabet has a visible stand-in for it. */
function pairKey(left: string, right: string): string {
  return `${left} ${right}`;
}

/** A binary min-heap. */
class NumberHeap {
  readonly #items: number[] = [];

  push(item: number): void {
    const items = this.#items;
    let at = items.push(item) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#item(parent) <= item) break;
      items[at] = this.#item(parent);
      at = parent;
    }
    items[at] = item;
  }

  pop(): number | undefined {
    const items = this.#items;
    const least = items[0];
    const last = items.pop();
    if (least === undefined || last === undefined || items.length === 0) return least;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (this.#item(child + 1) < this.#item(child)) child++;
      if (this.#item(child) >= last) break;
      items[at] = this.#item(child);
      at = child;
    }
    items[at] = last;
    return least;
  }

  #item(at: number): number {
    return this.#items[at] ?? Infinity;
  }
}
