/**
 * Other formats of SDXL's weights, told in diffusers' names: single-file checkpoints in the original layout, LoRA adapters, and the
 * tensors that come out of them and lie in no file. Knows the models' architectures and weight files; knows nothing of engines.
 */
export { DerivedWeights, type DerivedWeightsOptions } from './derived-weights.js';
export { addLora, type Lora } from './lora.js';
export { sdxlBaseConfigs } from './sdxl-base.js';
export { openSingleFile, scheduleMarks, storedTextProjection, type ComponentConfigs, type ComponentWeights } from './single-file.js';
