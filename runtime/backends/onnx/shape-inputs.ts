/** The size inputs of an engine's segments as a file: symbolic dims by their terms. */
import { addDims, mulDims, symbol, type Dim } from '../../graph/index.js';
import type { ShapeInput } from './lower.js';

type StoredTerm = readonly [coefficient: number, ...symbols: string[]];
interface StoredInput {
  readonly name: string;
  readonly dims: readonly (readonly StoredTerm[])[];
}

export function serializeShapeInputs(segments: readonly (readonly ShapeInput[])[]): Uint8Array {
  const stored = segments.map((inputs) => inputs.map(({ name, dims }): StoredInput => ({ name, dims: dims.map(storeDim) })));
  return Buffer.from(JSON.stringify(stored));
}

/** The cache has checked the file's digest, so its form is ours. */
export function parseShapeInputs(content: Uint8Array): ShapeInput[][] {
  const stored = JSON.parse(Buffer.from(content).toString('utf8')) as StoredInput[][];
  return stored.map((inputs) => inputs.map(({ name, dims }) => ({ name, dims: dims.map(restoreDim) })));
}

function storeDim(dim: Dim): StoredTerm[] {
  return typeof dim === 'number' ? [[dim]] : dim.terms.map(({ coefficient, symbols }): StoredTerm => [coefficient, ...symbols]);
}

function restoreDim(terms: readonly StoredTerm[]): Dim {
  return terms.reduce<Dim>((sum, [coefficient, ...symbols]) => addDims(sum, symbols.map(symbol).reduce(mulDims, coefficient)), 0);
}
