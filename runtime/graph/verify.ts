/** Checks a graph as a whole: single assignment, order, names, and every shape rule once more. Run after each pass. */
import { SdxlError } from '../errors/index.js';
import { equalShapes, printShape } from './dim.js';
import { typeOf, type Graph, type ValueId } from './graph.js';
import { inferShapes, ShapeError } from './ops.js';

/** Throws GRAPH_INVALID naming the first node that breaks a rule. */
export function verify(graph: Graph): void {
  const fail = (node: string, reason: string): never => {
    throw new SdxlError('GRAPH_INVALID', `${graph.name}: ${node}: ${reason}`, { fields: { graph: graph.name, node } });
  };
  const defined = new Set<ValueId>();
  const define = (value: ValueId, by: string): void => {
    if (defined.has(value)) fail(by, `%${String(value)} is assigned twice`);
    if (!graph.types.has(value)) fail(by, `%${String(value)} has no type`);
    defined.add(value);
  };

  unique(
    graph.inputs.map(({ name }) => name),
    (name) => fail(name, 'two inputs have this name'),
  );
  unique(
    graph.outputs.map(({ name }) => name),
    (name) => fail(name, 'two outputs have this name'),
  );
  unique(
    graph.weights.map(({ key }) => key),
    (key) => fail(key, 'two weights have this key'),
  );
  for (const { name, value } of graph.inputs) define(value, name);
  for (const { key, value } of graph.weights) define(value, key);

  for (const node of graph.nodes) {
    for (const input of node.inputs) {
      if (!defined.has(input)) fail(node.name, `${node.op} reads %${String(input)} before it is assigned`);
    }
    try {
      const expected = inferShapes(
        node.op,
        node.params,
        node.inputs.map((input) => typeOf(graph, input)),
      );
      if (expected.length !== node.outputs.length) fail(node.name, `${node.op} has ${String(node.outputs.length)} outputs`);
      expected.forEach((type, position) => {
        const output = node.outputs[position] ?? -1;
        const found = typeOf(graph, output);
        if (found.dtype !== type.dtype || !equalShapes(found.shape, type.shape)) {
          fail(node.name, `${node.op} gives ${type.dtype}${printShape(type.shape)}, recorded as ${found.dtype}${printShape(found.shape)}`);
        }
      });
    } catch (error) {
      if (error instanceof ShapeError) fail(node.name, `${node.op}: ${error.message}`);
      throw error;
    }
    for (const output of node.outputs) define(output, node.name);
  }

  for (const { name, value } of graph.outputs) {
    if (!defined.has(value)) fail(name, `output %${String(value)} is never assigned`);
  }
}

function unique(names: readonly string[], onDuplicate: (name: string) => void): void {
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) onDuplicate(name);
    seen.add(name);
  }
}
