/** From the VAE's output to a checked image: floats in [0, 1], finite and not flat. */
import { SdxlError } from '../errors/index.js';
import { float32, type Tensor } from '../tensor/index.js';

/**
 * Least standard deviation over the pixels of a channel. A quarter of a step of 8 bits (1/255): below it a whole channel
 * becomes one value or two. Renderings of even an "empty black picture" stay above, by the VAE's own texture.
 */
export const flatThreshold = 1e-3;

/** A float image `[3, height, width]` in [0, 1]. */
export type FloatImage = Tensor<'f32'>;

/**
 * Maps a VAE's output `[1, 3, height, width]` or `[3, height, width]` from [-1, 1] to [0, 1] and clamps it, in place: the image is
 * the tensor's memory.
 * @throws SdxlError IMAGE_NOT_FINITE before clamping, which would turn an infinity into white; IMAGE_FLAT.
 */
export function imageFromDecoded(decoded: Tensor<'f32'>): FloatImage {
  const shape = decoded.shape.length === 4 && decoded.shape[0] === 1 ? decoded.shape.slice(1) : decoded.shape;
  requireImageShape(shape);
  const pixels = decoded.data;
  const size = pixels.length / 3;
  const image = float32(shape, pixels);
  requireFinite(image);
  let largest = 0;
  // Plain loops without branches and without memory of their own: an image has millions of values, and callbacks, mispredicted branches
  // or fresh pages would take longer than a GPU takes to decode it.
  for (let channel = 0; channel < 3; channel++) {
    // Fractions from the start, so that the loop is compiled for fractions.
    let [sum, squares] = [0.5, 0.5];
    for (let index = channel * size; index < (channel + 1) * size; index++) {
      const value = pixels[index] as number;
      // Half of what is clamped to [-1, 1], a third faster than Math.min and Math.max, which mind NaN and the sign of zero; about the
      // middle, where doubles of values in [0, 1] lose nothing that counts.
      const centred = (Math.abs(value + 1) - Math.abs(value - 1)) * 0.25;
      pixels[index] = centred + 0.5;
      sum += centred;
      squares += centred * centred;
    }
    largest = Math.max(largest, Math.sqrt(Math.max(0, (squares - 0.5) / size - ((sum - 0.5) / size) ** 2)));
  }
  if (largest < flatThreshold) requireNotFlat(image);
  return image;
}

/** @throws SdxlError IMAGE_NOT_FINITE with how many values are not finite and where the first is. */
export function requireFinite(image: FloatImage): void {
  const [, height = 1, width = 1] = image.shape;
  if (isFinite(image.data)) return;
  const isBad = (value: number): boolean => !Number.isFinite(value);
  const first = image.data.findIndex(isBad);
  const count = image.data.reduce((sum, value) => sum + (isBad(value) ? 1 : 0), 0);
  const [channel, y, x] = [Math.floor(first / (height * width)), Math.floor(first / width) % height, first % width];
  const value = String(image.data[first]);
  throw new SdxlError(
    'IMAGE_NOT_FINITE',
    `${String(count)} of ${String(image.data.length)} values are not finite, the first is ${value} at channel ${String(channel)}, ` +
      `row ${String(y)}, column ${String(x)}: a network overflowed; use fp32 for the VAE or the whole model`,
    { fields: { count, total: image.data.length, value, channel, y, x } },
  );
}

/** @throws SdxlError IMAGE_FLAT where every channel is one colour, up to {@link flatThreshold}. */
export function requireNotFlat(image: FloatImage): void {
  const deviations = channelDeviations(image);
  const largest = Math.max(...deviations);
  if (largest >= flatThreshold) return;
  throw new SdxlError(
    'IMAGE_FLAT',
    `the image is one colour (standard deviation ${largest.toExponential(2)}, at least ${String(flatThreshold)} expected): ` +
      'the model, its precision or its weights are wrong',
    { fields: { standardDeviation: largest, least: flatThreshold } },
  );
}

/** [3] standard deviation over the pixels of each channel. */
export function channelDeviations(image: FloatImage): number[] {
  const [channels = 0, height = 1, width = 1] = image.shape;
  const size = height * width;
  return Array.from({ length: channels }, (_, channel) => standardDeviation(image.data, channel * size, (channel + 1) * size));
}

/** Of the values from one place to another, in double, in two passes. Plain loops: see {@link imageFromDecoded}. */
export function standardDeviation(values: Float32Array, from = 0, to = values.length): number {
  let [sum, squares] = [0.5, 0.5];
  for (let index = from; index < to; index++) sum += values[index] as number;
  const mean = (sum - 0.5) / (to - from);
  for (let index = from; index < to; index++) {
    const difference = (values[index] as number) - mean;
    squares += difference * difference;
  }
  return Math.sqrt(Math.max(0, squares - 0.5) / (to - from));
}

export function requireImageShape(shape: readonly number[]): { readonly height: number; readonly width: number } {
  const [channels, height = 0, width = 0] = shape;
  if (shape.length !== 3 || channels !== 3 || height < 1 || width < 1) {
    throw new RangeError(`an image is [3, height, width], not [${shape.join(', ')}]`);
  }
  return { height, width };
}

/** Infinities and NaN differ from themselves. Four sums at once, because each addition waits for the one before it. */
function isFinite(values: Float32Array): boolean {
  let [a, b, c, d] = [0.5, 0.5, 0.5, 0.5];
  const whole = values.length - (values.length % 4);
  const differenceAt = (index: number): number => (values[index] as number) - (values[index] as number);
  for (let index = 0; index < whole; index += 4) {
    a += differenceAt(index);
    b += differenceAt(index + 1);
    c += differenceAt(index + 2);
    d += differenceAt(index + 3);
  }
  for (let index = whole; index < values.length; index++) a += differenceAt(index);
  return a + b + c + d === 2;
}
