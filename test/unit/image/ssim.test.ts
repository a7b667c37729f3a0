/** Against scikit-image 0.26's structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=1.0) of the lightness. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ssim, type FloatImage } from '../../../runtime/image/index.js';
import { float32 } from '../../../runtime/tensor/index.js';

const [height, width] = [40, 48];
type Pixel = (channel: number, row: number, column: number) => number;

function image(pixel: Pixel): FloatImage {
  const values = Float32Array.from({ length: 3 * height * width }, (_, index) =>
    pixel(Math.floor(index / (height * width)), Math.floor(index / width) % height, index % width),
  );
  return float32([3, height, width], values);
}

const wave =
  (shift: number): Pixel =>
  (c, y, x) =>
    0.5 + 0.4 * Math.sin(0.3 * (x + shift) + 0.2 * y + c);
const original = image(wave(0));
const cases: readonly (readonly [string, Pixel, number])[] = [
  ['with noise', (c, y, x) => wave(0)(c, y, x) + 0.05 * Math.cos(7 * x * y + c), 0.9603819732151013],
  ['moved', wave(2), 0.7063037592547481],
  ['brighter', (c, y, x) => wave(0)(c, y, x) + 0.1, 0.9742102508321899],
  ['inverted', (c, y, x) => 1 - wave(0)(c, y, x), -0.6789235693077014],
];

for (const [name, pixel, expected] of cases) {
  test(name, () => {
    assert.ok(Math.abs(ssim(original, image(pixel)) - expected) < 1e-6, String(ssim(original, image(pixel))));
  });
}

test('the same image is 1; other shapes and small images are refused', () => {
  assert.equal(ssim(original, original), 1);
  assert.throws(() => ssim(original, float32([3, width, height])), RangeError);
  assert.throws(() => ssim(float32([3, 10, 64]), float32([3, 10, 64])), RangeError);
});
