import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SdxlError } from '../../../runtime/errors/index.js';
import {
  channelDeviations,
  flatThreshold,
  imageFromDecoded,
  psnr,
  quantize,
  requireFinite,
  requireNotFlat,
} from '../../../runtime/image/index.js';
import { float32, Generator } from '../../../runtime/tensor/index.js';

const noise = (height: number, width: number): ReturnType<typeof float32> => new Generator(1).randn([3, height, width]);

test('the decoded range is mapped to [0, 1] and clamped', () => {
  const decoded = float32([1, 3, 1, 2], Float32Array.of(-1, 1, 0, 0.5, -3, 3));
  const image = imageFromDecoded(decoded);
  assert.deepEqual(image, float32([3, 1, 2], Float32Array.of(0, 1, 0.5, 0.75, 0, 1)));
  assert.equal(image.data, decoded.data);
  assert.deepEqual(imageFromDecoded(float32([3, 1, 2], Float32Array.of(-1, 1, 0, 0.5, -3, 3))), image);
});

test('only images pass for images', () => {
  for (const shape of [
    [2, 3, 4, 4],
    [1, 4, 4, 4],
    [3, 4],
    [3, 0, 4],
  ]) {
    assert.throws(() => imageFromDecoded(float32(shape)), /an image is \[3, height, width\]/, String(shape));
  }
});

for (const [name, value] of [
  ['NaN', NaN],
  ['Infinity', Infinity],
  ['-Infinity', -Infinity],
] as const) {
  test(`${name} is counted and placed, also before clamping`, () => {
    const image = noise(4, 5);
    image.data[(2 * 4 + 3) * 5 + 1] = value;
    image.data[(2 * 4 + 3) * 5 + 4] = value;
    for (const check of [requireFinite, imageFromDecoded]) {
      assert.throws(
        () => check(image),
        (error: unknown) => {
          assert.ok(error instanceof SdxlError);
          assert.equal(error.code, 'IMAGE_NOT_FINITE');
          assert.deepEqual(error.fields, { count: 2, total: 60, value: String(value), channel: 2, y: 3, x: 1 });
          assert.match(error.message, /2 of 60 values are not finite, the first is .* at channel 2, row 3, column 1/);
          return true;
        },
      );
    }
  });
}

const flat: [string, (channel: number, index: number) => number, boolean][] = [
  ['black', () => 0, true],
  ['one colour with unlike channels', (channel) => channel / 2, true],
  ['a deviation just below the threshold', (_channel, index) => 0.5 + (index % 2 === 0 ? 1 : -1) * flatThreshold * 0.99, true],
  ['a deviation just above the threshold', (_channel, index) => 0.5 + (index % 2 === 0 ? 1 : -1) * flatThreshold * 1.01, false],
  ['structure in one channel alone', (channel, index) => (channel === 2 && index % 2 === 0 ? 0.6 : 0.5), false],
];
for (const [name, value, refused] of flat) {
  test(`${name} is ${refused ? '' : 'not '}flat`, () => {
    const image = float32(
      [3, 8, 8],
      Float32Array.from({ length: 192 }, (_, index) => value(Math.floor(index / 64), index)),
    );
    if (!refused) {
      assert.doesNotThrow(() => requireNotFlat(image));
      return;
    }
    assert.throws(
      () => requireNotFlat(image),
      (error: unknown) => error instanceof SdxlError && error.code === 'IMAGE_FLAT' && error.message.includes('one colour'),
    );
  });
}

test('a decoded image of one colour is refused', () => {
  assert.throws(() => imageFromDecoded(float32([3, 4, 4])), { code: 'IMAGE_FLAT' });
});

test('deviations are those of each channel', () => {
  const image = float32([3, 1, 2], Float32Array.of(0, 1, 0.5, 0.5, 0.25, 0.75));
  assert.deepEqual(channelDeviations(image), [0.5, 0, 0.25]);
});

test('quantising rounds halves to even and interleaves', () => {
  const steps = [0.5, 1.5, 2.5, 254.5, 0.49, 0.51].map((value) => value / 255);
  const image = float32([3, 1, 2], Float32Array.from(steps));
  const scaled = image.data.map((value) => value * 255);
  assert.deepEqual([...scaled.subarray(0, 4)], [0.5, 1.5, 2.5, 254.5], 'the test needs exact halves');
  assert.deepEqual([...quantize(image)], [0, 2, 0, 2, 254, 1]);
  assert.deepEqual([...quantize(float32([3, 1, 1], Float32Array.of(0, 1, 0.2)))], [0, 255, 51]);
});

test('psnr', () => {
  const a = float32([3, 1, 2], Float32Array.of(0.5, 0.5, 0.5, 0.5, 0.5, 0.5));
  const b = float32([3, 1, 2], Float32Array.of(0.6, 0.4, 0.6, 0.4, 0.6, 0.4));
  assert.ok(Math.abs(psnr(a, b) - 20) < 1e-5);
  const one = float32([3, 1, 2], Float32Array.of(0.5, 0.5, 0.5, 0.5, 0.5, 0.6));
  assert.ok(Math.abs(psnr(a, one) - (20 + 10 * Math.log10(6))) < 1e-5);
  assert.equal(psnr(a, a), Infinity);
  assert.ok(!(psnr(a, float32([3, 1, 2], Float32Array.of(NaN, 0, 0, 0, 0, 0))) >= 0));
  assert.throws(() => psnr(a, float32([3, 2, 1])), /images of \[3, 1, 2\] and \[3, 2, 1\]/);
});
