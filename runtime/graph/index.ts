/**
 * The typed tensor graph: what models are written in, what the sharding pass rewrites and what every backend lowers.
 * It knows shapes and op parameters; it knows nothing of files, models, meshes or backends.
 */
export {
  addDims,
  dependsOn,
  equalDims,
  equalShapes,
  evaluateDim,
  evaluateShape,
  mulDims,
  productOfDims,
  symbol,
  type Dim,
  type SymbolValues,
} from './dim.js';
export { type CollectiveGroup, type CollectivePayload, type OpName, type OpParams, type Padding, type TensorType } from './ops.js';
export type { CollectiveLabel, Displacement, ExchangeTiming, MomentsRule } from './displacement.js';
export { typeOf, type Graph, type GraphInput, type GraphOutput, type GraphWeight, type Node, type NodeOf, type ValueId } from './graph.js';
export { GraphBuilder, type Value } from './builder.js';
export { verify } from './verify.js';
export { printGraph } from './print.js';
export { countFlops } from './flops.js';
