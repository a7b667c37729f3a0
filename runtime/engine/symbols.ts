/** Binds a graph's symbols from the shapes of one run's inputs. */
import { SdxlError } from '../errors/index.js';
import { evaluateShape, typeOf, type Graph, type SymbolValues } from '../graph/index.js';
import type { Shape } from '../tensor/index.js';

/**
 * Solves each symbol from the first input dimension of the form `coefficient·symbol` and checks all inputs against the result.
 * Throws SIZE_INVALID naming the input, the shape found and the shape expected.
 */
export function bindSymbols(graph: Graph, shapes: Readonly<Record<string, Shape>>): SymbolValues {
  const values: Record<string, number> = {};
  const fail = (name: string, found: Shape, expected: string): never => {
    throw new SdxlError('SIZE_INVALID', `${graph.name}: input ${name} has shape [${found.join(', ')}], expected ${expected}`, {
      fields: { graph: graph.name, input: name, found, expected },
    });
  };
  const declared = graph.inputs.map(({ name, value }) => {
    const found = shapes[name];
    const { shape } = typeOf(graph, value);
    if (found?.length !== shape.length) return fail(name, found ?? [], `[${shape.map(String).join(', ')}]`);
    return { name, found, shape };
  });
  for (const { name, found, shape } of declared) {
    shape.forEach((dim, axis) => {
      if (typeof dim === 'number') return;
      const [term, ...rest] = dim.terms;
      const [symbol, ...others] = term?.symbols ?? [];
      if (term === undefined || symbol === undefined || rest.length > 0 || others.length > 0 || values[symbol] !== undefined) return;
      const value = (found[axis] ?? 0) / term.coefficient;
      if (!Number.isInteger(value) || value < 1) fail(name, found, `axis ${String(axis)} a multiple of ${String(term.coefficient)}`);
      values[symbol] = value;
    });
  }
  for (const { name, found, shape } of declared) {
    const expected = evaluateShape(shape, values);
    if (expected.some((size, axis) => size !== found[axis])) fail(name, found, `[${expected.join(', ')}]`);
  }
  return values;
}
