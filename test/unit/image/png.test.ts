import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { inflateSync } from 'node:zlib';
import { decode } from 'fast-png';
import { packageFile } from '../../../runtime/package-root.js';
import {
  a1111Text,
  encodePng,
  jsonKeyword,
  parametersAsJson,
  parametersKeyword,
  type ImageParameters,
  type PngText,
} from '../../../runtime/image/index.js';
import { parametersAsText } from '../../../runtime/image/parameters.js';
import { readChunks, readText } from './read-png.js';

/** Pixels that favour each filter in turn: noise, horizontal, vertical and diagonal gradients, repeats. */
function testPixels(width: number, height: number): Uint8Array {
  let state = 1;
  const random = (): number => (state = (state * 1103515245 + 12345) & 0x7fff_ffff) >>> 16;
  const kinds: ((x: number, y: number, c: number) => number)[] = [
    () => random(),
    (x, _y, c) => x * 7 + c * 50,
    (_x, y, c) => y * 3 + c * 20,
    (x, y) => x * 5 + y * 9,
    (x, y) => x * 2 + y * 2 + (random() % 6), // paeth, with ties
    () => 200,
  ];
  return Uint8Array.from({ length: width * height * 3 }, (_, at) => {
    const [c, x, y] = [at % 3, Math.floor(at / 3) % width, Math.floor(at / 3 / width)];
    return kinds[Math.floor((y * kinds.length) / height)]?.(x, y, c) ?? 0;
  });
}

for (const [width, height] of [
  [1, 1],
  [7, 40],
  [64, 60],
] as const) {
  test(`${String(width)}×${String(height)} pixels are read back by another implementation`, async () => {
    const pixels = testPixels(width, height);
    const png = await encodePng(pixels, width, height, [['k', 'v']]);
    const decoded = decode(png, { checkCrc: true });
    assert.deepEqual([decoded.width, decoded.height, decoded.channels, decoded.depth], [width, height, 3, 8]);
    assert.deepEqual(Buffer.from(decoded.data as Uint8Array), Buffer.from(pixels));
    assert.deepEqual(decoded.text, { k: 'v' });
    assert.deepEqual(
      readChunks(png).map(({ type }) => type),
      ['IHDR', 'tEXt', 'IDAT', 'IEND'],
    );
  });
}

// Bands of 192 KiB: rows of more, one row short of a band, a whole number of them, one row more.
for (const [width, height] of [
  [70_000, 3],
  [1024, 63],
  [1024, 126],
  [1024, 127],
] as const) {
  test(`${String(width)}×${String(height)} pixels are one stream, whose checksum is that of all its rows`, async () => {
    const pixels = testPixels(width, height);
    const png = await encodePng(pixels, width, height);
    assert.deepEqual(Buffer.from(decode(png, { checkCrc: true }).data as Uint8Array), Buffer.from(pixels));
    const [data, ...more] = readChunks(png).filter(({ type }) => type === 'IDAT');
    assert.deepEqual(more, []);
    // Unlike the library above, zlib compares the checksum.
    assert.equal(inflateSync(data?.data ?? Buffer.of()).length, (width * 3 + 1) * height);
  });
}

test('the same pixels are the same bytes, however many threads compress them', async () => {
  const script = `import { createHash } from 'node:crypto';
    import { encodePng } from ${JSON.stringify(packageFile('dist/runtime/image/index.js'))};
    const pixels = Uint8Array.from({ length: 1024 * 700 * 3 }, (_, at) => ((at * at) >> 9) + (at >> 12));
    console.log(createHash('sha256').update(await encodePng(pixels, 1024, 700)).digest('hex'));`;
  const digests = await Promise.all(
    ['1', '2', '7'].map(async (threads) => {
      const env = { ...process.env, UV_THREADPOOL_SIZE: threads };
      const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script], { env });
      return stdout.trim();
    }),
  );
  assert.match(digests[0] ?? '', /^[0-9a-f]{64}$/u);
  assert.equal(new Set(digests).size, 1);
});

test('whoever else needs the thread gets it between two bands', async () => {
  let turns = 0;
  const over = new AbortController();
  const others = (async () => {
    for (; !over.signal.aborted; turns++) await setImmediate();
  })();
  const pixels = new Uint8Array(1024 * 1024 * 3);
  await encodePng(pixels, 1024, 1024);
  over.abort();
  await others;
  assert.ok(turns > 10, `${String(turns)} turns`);
});

test('filters make a smooth picture smaller than its noise', async () => {
  const width = 64;
  const smooth = Uint8Array.from({ length: width * width * 3 }, (_, at) => ((at / 3) % width) + Math.floor(at / 3 / width));
  assert.ok((await encodePng(smooth, width, width)).length < 1000);
});

test('the wrong number of pixels is refused', async () => {
  await assert.rejects(encodePng(new Uint8Array(11), 2, 2), /11 bytes for 2×2 RGB pixels/);
});

const texts: [string, string, string, string][] = [
  ['ASCII', 'a fox\nSteps: 5', 'tEXt', 'a fox\nSteps: 5'],
  ['empty', '', 'tEXt', ''],
  ['Latin-1', 'café ÿ', 'tEXt', 'café ÿ'],
  ['beyond Latin-1', 'fox 🦊 日本', 'iTXt', 'fox 🦊 日本'],
  ['curly quotes', '“quoted”', 'iTXt', '“quoted”'],
  ['a NUL', 'a\0b', 'iTXt', 'a\ufffdb'],
];
for (const [name, content, type, expected] of texts) {
  test(`text: ${name}`, async () => {
    const png = await encodePng(new Uint8Array(3), 1, 1, [['parameters', content]]);
    assert.deepEqual(readText(png), [{ type, keyword: 'parameters', text: expected }]);
  });
}

test('keywords are those of the specification', async () => {
  for (const keyword of ['', ' a', 'a ', 'é', 'a\0', 'x'.repeat(80)]) {
    const text: PngText = [[keyword, '']];
    await assert.rejects(encodePng(new Uint8Array(3), 1, 1, text), /PNG keyword/, JSON.stringify(keyword));
  }
  for (const keyword of ['a', 'a b', 'x'.repeat(79)]) await encodePng(new Uint8Array(3), 1, 1, [[keyword, '']]);
});

const plain: ImageParameters = {
  prompt: 'a fox, sleeping',
  seed: 2n ** 63n + 1n,
  numInferenceSteps: 30,
  guidanceScale: 7.5,
  width: 1024,
  height: 768,
  scheduler: 'EulerDiscreteScheduler',
  model: '/models/sdxl',
  version: '1.2.3',
};
const parameters: ImageParameters = { ...plain, negativePrompt: 'blurry: no', modelDigest: '0123456789abcdef' };

test('the A1111 text', () => {
  assert.equal(
    a1111Text(parameters),
    'a fox, sleeping\nNegative prompt: blurry: no\nSteps: 30, Sampler: Euler, CFG scale: 7.5, Seed: 9223372036854775809, ' +
      'Size: 1024x768, Model hash: 0123456789, Model: /models/sdxl, Version: sdxl-operator 1.2.3',
  );
  assert.equal(
    a1111Text({ ...plain, model: 'C:, "x"', scheduler: 'Other' }),
    'a fox, sleeping\nSteps: 30, Sampler: Other, CFG scale: 7.5, Seed: 9223372036854775809, Size: 1024x768, ' +
      'Model: "C:, \\"x\\"", Version: sdxl-operator 1.2.3',
  );
  assert.ok(!a1111Text({ ...parameters, negativePrompt: '' }).includes('Negative'));
});

test('the JSON chunk keeps everything, in ASCII', async () => {
  const all: ImageParameters = { ...parameters, prompt: 'fox 🦊', details: { mesh: { cfg: 1, patch: 2 }, note: 'ü' } };
  const [first, second] = readText(await encodePng(new Uint8Array(3), 1, 1, parametersAsText(all)));
  assert.deepEqual([first?.keyword, first?.type], [parametersKeyword, 'iTXt']);
  assert.deepEqual([second?.keyword, second?.type], [jsonKeyword, 'tEXt']);
  assert.match(second?.text ?? '', /^[\x20-\x7e]*$/);
  assert.deepEqual(JSON.parse(second?.text ?? ''), { ...all, seed: '9223372036854775809' });
  assert.ok(!('details' in parametersAsJson(parameters)));
  assert.equal(parametersAsJson({ ...parameters, negativePrompt: '' })['negativePrompt'], '');
});
