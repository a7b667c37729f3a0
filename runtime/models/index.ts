/**
 * SDXL's networks as graphs, built from their diffusers config.json. Knows the architectures and the names of their weights;
 * knows nothing of files, meshes, engines or backends.
 */
export type { JsonObject, JsonValue } from './config.js';
export { parseUnetConfig, type UnetConfig } from './unet-config.js';
export { parseClipTextConfig, type ClipTextConfig } from './clip-config.js';
export { parseVaeConfig, vaeScaleFactor, type VaeConfig } from './vae-config.js';
export { buildUnet, unetUnit } from './unet.js';
export { buildClipText, hiddenStatesOutput } from './clip-text.js';
export { buildVaeDecoder } from './vae-decoder.js';
