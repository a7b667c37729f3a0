/**
 * Builds a {@link Graph} node by node; shapes are inferred at once, so a wrong model fails where it is written.
 *
 * Weights are declared by key and shape only. The same key asked for twice is one value.
 */
import { SdxlError } from '../errors/index.js';
import type { DType } from '../tensor/index.js';
import { printShape, symbol, type Dim } from './dim.js';
import type { Graph, GraphInput, GraphOutput, GraphWeight, Node, NodeOf, ValueId } from './graph.js';
import { inferShapes, ShapeError, type CollectivePayload, type OpName, type OpParams, type Padding, type TensorType } from './ops.js';

/** A value under construction: its number and its type. */
export interface Value extends TensorType {
  readonly id: ValueId;
}

const noPadding: Padding = { top: 0, left: 0, bottom: 0, right: 0 };

export class GraphBuilder {
  readonly #name: string;
  readonly #symbols: string[] = [];
  readonly #types = new Map<ValueId, TensorType>();
  readonly #inputs: GraphInput[] = [];
  readonly #weights = new Map<string, GraphWeight>();
  readonly #nodes: Node[] = [];
  readonly #outputs: GraphOutput[] = [];

  constructor(name: string) {
    this.#name = name;
  }

  symbol(name: string): Dim {
    if (!this.#symbols.includes(name)) this.#symbols.push(name);
    return symbol(name);
  }

  input(name: string, shape: readonly Dim[], dtype: DType = 'f32'): Value {
    const value = this.#value({ dtype, shape });
    this.#inputs.push({ name, value: value.id });
    return value;
  }

  weight(key: string, shape: readonly number[]): Value {
    const known = this.#weights.get(key);
    if (known !== undefined) return { id: known.value, dtype: 'f32', shape: known.shape };
    const value = this.#value({ dtype: 'f32', shape });
    this.#weights.set(key, { key, value: value.id, shape });
    return value;
  }

  output(name: string, value: Value): void {
    this.#outputs.push({ name, value: value.id });
  }

  /** Adds a node of any op and returns its outputs; throws GRAPH_INVALID naming the node when its shape rule fails. */
  node<Op extends OpName>(op: Op, name: string, params: OpParams[Op], inputs: readonly Value[]): Value[] {
    let types: TensorType[];
    try {
      types = inferShapes(op, params, inputs);
    } catch (error) {
      if (!(error instanceof ShapeError)) throw error;
      const operands = inputs.map((input) => printShape(input.shape)).join(', ');
      throw new SdxlError('GRAPH_INVALID', `${this.#name}: ${op} at ${name} with ${operands}: ${error.message}`, {
        fields: { graph: this.#name, node: name, op },
      });
    }
    const outputs = types.map((type) => this.#value(type));
    const node: NodeOf<Op> = { op, name, params, inputs: inputs.map(({ id }) => id), outputs: outputs.map(({ id }) => id) };
    // A NodeOf<Op> for one Op of the union is a Node; the compiler cannot distribute over a generic Op.
    this.#nodes.push(node as Node);
    return outputs;
  }

  linear(name: string, x: Value, weight: Value, bias?: Value): Value {
    return this.#one('linear', name, {}, bias === undefined ? [x, weight] : [x, weight, bias]);
  }

  conv2d(name: string, x: Value, weight: Value, bias: Value, options: { stride?: number; padding?: number | Padding } = {}): Value {
    const { stride = 1, padding = noPadding } = options;
    const pads = typeof padding === 'number' ? { top: padding, left: padding, bottom: padding, right: padding } : padding;
    return this.#one('conv2d', name, { stride, padding: pads }, [x, weight, bias]);
  }

  attention(name: string, q: Value, k: Value, v: Value, params: OpParams['attention']): Value {
    return this.#one('attention', name, params, [q, k, v]);
  }

  layerNorm(name: string, x: Value, weight: Value, bias: Value, epsilon: number): Value {
    return this.#one('layerNorm', name, { epsilon }, [x, weight, bias]);
  }

  groupNorm(name: string, x: Value, weight: Value, bias: Value, params: OpParams['groupNorm']): Value {
    return this.#one('groupNorm', name, params, [x, weight, bias]);
  }

  add(name: string, a: Value, b: Value): Value {
    return this.#one('add', name, {}, [a, b]);
  }

  mul(name: string, a: Value, b: Value): Value {
    return this.#one('mul', name, {}, [a, b]);
  }

  activation(name: string, kind: OpParams['activation']['kind'], x: Value): Value {
    return this.#one('activation', name, { kind }, [x]);
  }

  affine(name: string, x: Value, factor: number, offset: number): Value {
    return this.#one('affine', name, { factor, offset }, [x]);
  }

  embedding(name: string, table: Value, ids: Value): Value {
    return this.#one('embedding', name, {}, [table, ids]);
  }

  selectToken(name: string, x: Value, index: Value): Value {
    return this.#one('selectToken', name, {}, [x, index]);
  }

  sinusoid(name: string, values: Value, params: OpParams['sinusoid']): Value {
    return this.#one('sinusoid', name, params, [values]);
  }

  reshape(name: string, x: Value, shape: readonly Dim[]): Value {
    return this.#one('reshape', name, { shape }, [x]);
  }

  transpose(name: string, x: Value, permutation: readonly number[]): Value {
    return this.#one('transpose', name, { permutation }, [x]);
  }

  concat(name: string, axis: number, values: readonly Value[]): Value {
    return this.#one('concat', name, { axis }, values);
  }

  slice(name: string, x: Value, axis: number, start: number, end: number): Value {
    return this.#one('slice', name, { axis, start, end }, [x]);
  }

  upsampleNearest(name: string, x: Value, factor: number, size?: readonly [Dim, Dim]): Value {
    return this.#one('upsampleNearest', name, size === undefined ? { factor } : { factor, size }, [x]);
  }

  collective(
    name: string,
    params: Omit<OpParams['collective'], 'payloads'>,
    values: readonly { readonly value: Value; readonly payload: CollectivePayload }[],
  ): Value[] {
    const payloads = values.map(({ payload }) => payload);
    return this.node(
      'collective',
      name,
      { ...params, payloads },
      values.map(({ value }) => value),
    );
  }

  finish(): Graph {
    return {
      name: this.#name,
      symbols: this.#symbols,
      types: this.#types,
      inputs: this.#inputs,
      weights: [...this.#weights.values()],
      nodes: this.#nodes,
      outputs: this.#outputs,
    };
  }

  #one<Op extends OpName>(op: Op, name: string, params: OpParams[Op], inputs: readonly Value[]): Value {
    const [value] = this.node(op, name, params, inputs);
    if (value === undefined) throw new Error(`${op} has no output`);
    return value;
  }

  #value({ dtype, shape }: TensorType): Value {
    const id = this.#types.size;
    this.#types.set(id, { dtype, shape });
    return { id, dtype, shape };
  }
}
