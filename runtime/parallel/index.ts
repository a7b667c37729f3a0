/**
 * From one graph to many ranks: the mesh and the pass that rewrites a graph for a place in it. Knows graphs only: neither which
 * model a graph is nor how bytes travel.
 */
export {
  checkSize,
  decodeMesh,
  gangSize,
  placeInGang,
  placeInMesh,
  printMesh,
  worldSize,
  type JobMesh,
  type Mesh,
  type MeshPlace,
  type Replica,
} from './mesh.js';
export { displacementOf, isWarmup, patchModes, type PatchMode } from './displacement.js';
export { chooseMesh, fewerRanks, type MeshCandidate, type MeshChoice, type MeshQuestion } from './choose-mesh.js';
export { shard } from './shard.js';
