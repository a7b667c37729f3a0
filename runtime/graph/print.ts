/** A graph as text, one line a node; equal graphs print equally, so the text is also what engine-cache keys digest. */
import { SymbolicDim, printShape } from './dim.js';
import { typeOf, type Graph, type Node, type ValueId } from './graph.js';

export function printGraph(graph: Graph): string {
  const typed = (value: ValueId): string => {
    const type = typeOf(graph, value);
    return `%${String(value)}: ${type.dtype}${printShape(type.shape)}`;
  };
  return [
    `graph ${graph.name} (${graph.symbols.join(', ')})`,
    ...graph.inputs.map(({ name, value }) => `  input ${typed(value)} = ${name}`),
    ...graph.weights.map(({ key, value }) => `  weight ${typed(value)} = ${key}`),
    ...graph.nodes.map((node) => `  ${node.outputs.map(typed).join(', ')} = ${printCall(node)}  # ${node.name}`),
    ...graph.outputs.map(({ name, value }) => `  output ${name} = %${String(value)}`),
    '',
  ].join('\n');
}

function printCall(node: Node): string {
  const operands = node.inputs.map((input) => `%${String(input)}`);
  const params = Object.entries(node.params).map(([name, value]) => `${name}=${printParam(value)}`);
  return `${node.op}(${[...operands, ...params].join(', ')})`;
}

function printParam(value: unknown): string {
  return JSON.stringify(value, (_, nested: unknown) => (nested instanceof SymbolicDim ? nested.key : nested));
}
