/**
 * Comparing an image, and the way to it, with what another program made of the same request. Reads the other's files, measures stage by
 * stage and says what usually makes the first stage differ. Knows nothing of how our side came about.
 */
export { compareStages, firstDifference, type StageComparison } from './compare.js';
export { diagnose } from './diagnose.js';
export { readReference, type Stages } from './reference.js';
