/** The graph: values, nodes in execution order, named inputs, weights and outputs. Immutable once built. */
import type { OpName, OpParams, TensorType } from './ops.js';

/** A value's number within its graph. */
export type ValueId = number;

export interface NodeOf<Op extends OpName> {
  readonly op: Op;
  readonly params: OpParams[Op];
  readonly inputs: readonly ValueId[];
  readonly outputs: readonly ValueId[];
  /** Where in the model it stands, for example `down_blocks.1.attentions.0.transformer_blocks.0.attn1`. */
  readonly name: string;
}
export type Node = { [Op in OpName]: NodeOf<Op> }[OpName];

export interface GraphInput {
  readonly name: string;
  readonly value: ValueId;
}

/** A weight, named by its safetensors key. Its bytes are never in the graph. */
export interface GraphWeight {
  readonly key: string;
  readonly value: ValueId;
  readonly shape: readonly number[];
}

export interface GraphOutput {
  readonly name: string;
  readonly value: ValueId;
}

export interface Graph {
  /** The component: `text_encoder`, `text_encoder_2`, `unet`, `vae_decoder`. */
  readonly name: string;
  readonly symbols: readonly string[];
  readonly types: ReadonlyMap<ValueId, TensorType>;
  readonly inputs: readonly GraphInput[];
  readonly weights: readonly GraphWeight[];
  readonly nodes: readonly Node[];
  readonly outputs: readonly GraphOutput[];
}

export function typeOf(graph: Graph, value: ValueId): TensorType {
  const type = graph.types.get(value);
  if (type === undefined) throw new Error(`graph ${graph.name} has no value %${String(value)}`);
  return type;
}
