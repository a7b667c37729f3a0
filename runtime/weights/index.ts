/**
 * Weights on disk: safetensors files and the components made of them, found by tensor name and read by range. Building a model
 * reads headers only; bytes move when a backend asks for them. Knows nothing of models, graphs or backends.
 */
export { fileDigest, combineDigests, type DigestOptions } from './digest.js';
export { SafetensorsFile } from './safetensors-file.js';
export { type SafetensorsDType, type TensorEntry } from './safetensors-header.js';
export { componentVariants, type WeightsStem } from './component-files.js';
export { tensorDType, WeightsDirectory, type WeightEntry, type WeightView } from './weights-directory.js';
export { describeShape, vanished, weightsError } from './weights-error.js';
export { writeSafetensors, type TensorToWrite } from './write-safetensors.js';
