/**
 * Finished images: checked, quantised, encoded as PNG with their parameters inside, written atomically, and compared. Knows
 * nothing of how an image was made.
 */
export {
  channelDeviations,
  flatThreshold,
  imageFromDecoded,
  requireFinite,
  requireNotFlat,
  standardDeviation,
  type FloatImage,
} from './check-image.js';
export { a1111Text, jsonKeyword, parametersAsJson, parametersKeyword, type ImageParameters, type JsonValue } from './parameters.js';
export { encodePng, quantize, type PngText } from './png.js';
export { psnr } from './psnr.js';
export { ssim } from './ssim.js';
export { parseSidecar, readRecord, sidecarPath, type ImageRecord } from './image-record.js';
export { imageFiles, type ImageStore, type StoredImage, type WriteOptions } from './image-store.js';
export { removeDeadTemporaries } from './temporary-files.js';
export { assertWritable, writeImage, type WrittenImage } from './write-image.js';
