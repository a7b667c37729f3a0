/**
 * Symbolic sizes: polynomials with integer coefficients over a graph's symbols (`batch`, `height`, `width`, …) and over fractions of
 * them that are rounded up, written `height/2`: what a strided convolution leaves of an odd number of rows.
 *
 * A graph is built once for every size it will run at, so a dimension such as the token count `height/2·width/2` stays
 * symbolic until a run binds the symbols. Equality is exact (canonical terms), so shape rules can check what they claim.
 */

/** One term `coefficient · symbol · symbol …`; symbols, or fractions of them such as `height/2`, are sorted and may repeat. */
interface Term {
  readonly coefficient: number;
  readonly symbols: readonly string[];
}

/** A size: a number where it is known, else a polynomial. Never build one by hand: use the functions below. */
export type Dim = number | SymbolicDim;

export class SymbolicDim {
  readonly terms: readonly Term[];
  /** Canonical text, for example `4*height*width + 2`. Equal dims have equal keys. */
  readonly key: string;

  constructor(terms: readonly Term[]) {
    this.terms = terms;
    this.key = terms.map(printTerm).join(' + ');
  }

  toString(): string {
    return this.key;
  }
}

/** The values of a graph's symbols for one run. */
export type SymbolValues = Readonly<Record<string, number>>;

export function symbol(name: string): Dim {
  return new SymbolicDim([{ coefficient: 1, symbols: [name] }]);
}

export function addDims(a: Dim, b: Dim): Dim {
  return canonical([...termsOf(a), ...termsOf(b)]);
}

export function mulDims(a: Dim, b: Dim): Dim {
  return canonical(
    termsOf(a).flatMap((left) =>
      termsOf(b).map((right) => ({
        coefficient: left.coefficient * right.coefficient,
        symbols: [...left.symbols, ...right.symbols].sort(),
      })),
    ),
  );
}

export function productOfDims(dims: readonly Dim[]): Dim {
  return dims.reduce(mulDims, 1);
}

/**
 * `ceil(a / divisor)` where that is a size: of a symbol or a fraction of one, or where the coefficients of all symbolic terms divide exactly.
 * Returns undefined otherwise, so that a shape rule can say which node asked for it.
 */
export function ceilDivDim(a: Dim, divisor: number): Dim | undefined {
  if (divisor === 1) return a;
  const terms = termsOf(a);
  if (terms.every((term) => term.symbols.length === 0 || term.coefficient % divisor === 0))
    return canonical(terms.map((term) => ({ ...term, coefficient: Math.ceil(term.coefficient / divisor) })));
  const [{ coefficient, symbols: [only = '', ...others] } = { coefficient: 0, symbols: [] }, ...rest] = terms;
  if (coefficient !== 1 || others.length > 0 || rest.length > 0) return undefined;
  // ⌈⌈n/a⌉/b⌉ = ⌈n/ab⌉.
  const [name = '', former = 1] = only.split('/');
  return symbol(`${name}/${String(Number(former) * divisor)}`);
}

/** Whether the size changes with a symbol. */
export function dependsOn(dim: Dim, name: string): boolean {
  return typeof dim !== 'number' && dim.terms.some(({ symbols }) => symbols.some((each) => each.split('/')[0] === name));
}

export function equalDims(a: Dim, b: Dim): boolean {
  return typeof a === 'number' || typeof b === 'number' ? a === b : a.key === b.key;
}

export function equalShapes(a: readonly Dim[], b: readonly Dim[]): boolean {
  return a.length === b.length && a.every((dim, axis) => equalDims(dim, b[axis] ?? -1));
}

/** The size for one run. Throws where a symbol has no value: that is a defect of the caller. */
export function evaluateDim(dim: Dim, values: SymbolValues): number {
  if (typeof dim === 'number') return dim;
  return dim.terms.reduce(
    (sum, term) =>
      sum +
      term.symbols.reduce((product, each) => {
        const [name = '', divisor = 1] = each.split('/');
        const value = values[name];
        if (value === undefined) throw new Error(`no value for symbol ${name} in ${dim.key}`);
        return product * Math.ceil(value / Number(divisor));
      }, term.coefficient),
    0,
  );
}

export function evaluateShape(shape: readonly Dim[], values: SymbolValues): number[] {
  return shape.map((dim) => evaluateDim(dim, values));
}

export function printShape(shape: readonly Dim[]): string {
  return `[${shape.map(String).join(', ')}]`;
}

function termsOf(dim: Dim): readonly Term[] {
  return typeof dim === 'number' ? (dim === 0 ? [] : [{ coefficient: dim, symbols: [] }]) : dim.terms;
}

function canonical(terms: readonly Term[]): Dim {
  const merged = new Map<string, Term>();
  for (const term of terms) {
    const key = term.symbols.join('*');
    const before = merged.get(key);
    merged.set(key, { symbols: term.symbols, coefficient: term.coefficient + (before?.coefficient ?? 0) });
  }
  const kept = [...merged.entries()].filter(([, term]) => term.coefficient !== 0);
  // Symbolic terms in alphabetical order, the constant last.
  kept.sort(([a], [b]) => (a === '' ? 1 : b === '' ? -1 : a < b ? -1 : 1));
  const constant = kept.length === 0 ? 0 : kept.length === 1 && kept[0]?.[0] === '' ? kept[0][1].coefficient : undefined;
  return constant ?? new SymbolicDim(kept.map(([, term]) => term));
}

function printTerm({ coefficient, symbols }: Term): string {
  if (symbols.length === 0) return String(coefficient);
  return coefficient === 1 ? symbols.join('*') : [String(coefficient), ...symbols].join('*');
}
