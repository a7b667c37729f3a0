/** How alike two images look, by their structure. */
import { requireImageShape, type FloatImage } from './check-image.js';

/** A Gaussian of this spread in pixels, over this many of them: Wang et al. 2004, section III-C. */
const sigma = 1.5;
const windowSize = 11;
/** (K₁·L)² and (K₂·L)² of values in [0, 1]. */
const [c1, c2] = [0.01 ** 2, 0.03 ** 2];

type Plane = Float64Array<ArrayBuffer>;

/**
 * Mean structural similarity of the lightness of two float images in [0, 1] (Wang, Bovik, Sheikh, Simoncelli 2004, "Image quality assessment: from
 * error visibility to structural similarity"), over the windows that lie within the image. 1 for equal images.
 * @throws RangeError where the shapes differ, or a side is shorter than the window
 */
export function ssim(a: FloatImage, b: FloatImage): number {
  if (a.shape.join() !== b.shape.join()) throw new RangeError(`images of [${a.shape.join(', ')}] and [${b.shape.join(', ')}]`);
  const { height, width } = requireImageShape(a.shape);
  if (Math.min(height, width) < windowSize)
    throw new RangeError(`${String(height)} x ${String(width)}: SSIM takes ${String(windowSize)} pixels a side`);
  const [x, y] = [lightness(a), lightness(b)];
  const blurred = (values: Plane): Plane => blur(values, height, width);
  const product = (p: Plane, q: Plane): Plane => p.map((value, index) => value * at(q, index));
  const [mx, my, xx, yy, xy] = [blurred(x), blurred(y), blurred(product(x, x)), blurred(product(y, y)), blurred(product(x, y))];
  const sum = mx.reduce((total, mean, index) => {
    const other = at(my, index);
    const [vx, vy, covariance] = [at(xx, index) - mean ** 2, at(yy, index) - other ** 2, at(xy, index) - mean * other];
    return total + ((2 * mean * other + c1) * (2 * covariance + c2)) / ((mean ** 2 + other ** 2 + c1) * (vx + vy + c2));
  }, 0);
  return sum / mx.length;
}

/** ITU-R BT.601 luma of `[3, height, width]`. */
function lightness({ data }: FloatImage): Plane {
  const pixels = data.length / 3;
  return Float64Array.from(
    { length: pixels },
    (_, index) => 0.299 * at(data, index) + 0.587 * at(data, index + pixels) + 0.114 * at(data, index + 2 * pixels),
  );
}

const weights = gaussian();

function gaussian(): number[] {
  const raw = Array.from({ length: windowSize }, (_, index) => Math.exp(-((index - (windowSize - 1) / 2) ** 2) / (2 * sigma ** 2)));
  const sum = raw.reduce((total, weight) => total + weight, 0);
  return raw.map((weight) => weight / sum);
}

/** Along rows, then along columns; only where the whole window lies within. */
function blur(values: Plane, height: number, width: number): Plane {
  const rows = weigh(values, { height, width: width - windowSize + 1, stride: width, step: 1 });
  return weigh(rows, {
    height: height - windowSize + 1,
    width: width - windowSize + 1,
    stride: width - windowSize + 1,
    step: width - windowSize + 1,
  });
}

function weigh(values: Plane, { height, width, stride, step }: { height: number; width: number; stride: number; step: number }): Plane {
  const result = new Float64Array(height * width);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      let sum = 0;
      // A plain loop: an image of 1024² takes a hundred million turns.
      for (let tap = 0; tap < windowSize; tap++) sum += at(weights, tap) * at(values, row * stride + column + tap * step);
      result[row * width + column] = sum;
    }
  }
  return result;
}

function at(values: ArrayLike<number>, index: number): number {
  return values[index] ?? Number.NaN;
}
