/** How alike two images are. */
import type { FloatImage } from './check-image.js';

/**
 * Peak signal-to-noise ratio in dB of two float images in [0, 1]: 10·log10(1 / mean squared error). Infinite for equal images,
 * NaN where a value is NaN, so that no comparison with a limit passes.
 */
export function psnr(a: FloatImage, b: FloatImage): number {
  if (a.shape.join() !== b.shape.join()) throw new RangeError(`images of [${a.shape.join(', ')}] and [${b.shape.join(', ')}]`);
  const squares = a.data.reduce((sum, value, index) => sum + (value - (b.data[index] ?? NaN)) ** 2, 0);
  return 10 * Math.log10(a.data.length / squares);
}
