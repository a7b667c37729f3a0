import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { chmod, copyFile, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SdxlError } from '../../../runtime/errors/index.js';
import {
  assertWritable,
  readRecord,
  sidecarPath,
  writeImage,
  type FloatImage,
  type ImageParameters,
} from '../../../runtime/image/index.js';
import { float32, Generator } from '../../../runtime/tensor/index.js';
import { readText } from './read-png.js';

const folder = await mkdtemp(join(tmpdir(), 'image-'));
after(() => rm(folder, { recursive: true }));
let count = 0;
async function newFolder(): Promise<string> {
  const path = join(folder, String(count++));
  await mkdir(path);
  return path;
}

const image: FloatImage = float32(
  [3, 4, 6],
  new Generator(1).randn([3, 4, 6]).data.map((value) => Math.min(Math.max(value / 4 + 0.5, 0), 1)),
);
const parameters: ImageParameters = {
  prompt: 'fox 🦊',
  seed: 233n,
  numInferenceSteps: 2,
  guidanceScale: 5,
  width: 6,
  height: 4,
  scheduler: 'EulerDiscreteScheduler',
  model: 'random',
  version: '0.1.0',
};

test('an image and its sidecar, and nothing else, in a directory made for them', async () => {
  const directory = join(await newFolder(), 'deep', 'er');
  const path = join(directory, 'out.png');
  const written = await writeImage(path, image, parameters);
  const bytes = await readFile(path);
  assert.deepEqual(written, { path, sidecarPath: join(directory, 'out.json'), sizeBytes: bytes.length });
  assert.deepEqual((await readdir(directory)).sort(), ['out.json', 'out.png']);
  const [first, second] = readText(bytes);
  assert.match(first?.text ?? '', /^fox 🦊\nSteps: 2, /);
  const record: unknown = JSON.parse(await readFile(written.sidecarPath, 'utf8'));
  const embedded = JSON.parse(second?.text ?? '') as Record<string, unknown>;
  assert.deepEqual(record, { file: 'out.png', sha256: createHash('sha256').update(bytes).digest('hex'), ...embedded });
  assert.deepEqual(await readRecord(path), record);
});

test("a JSON file of somebody else's is never overwritten, whatever is in it", async () => {
  for (const text of ['{"apiVersion": "sdxl.io/v1alpha1", "kind": "SdxlJob"}', '[]', 'not JSON', '']) {
    const directory = await newFolder();
    const path = join(directory, 'job.png');
    await writeFile(join(directory, 'job.json'), text);
    const refused = { code: 'OUTPUT_UNWRITABLE', message: /job\.json, which exists and is not an image's record/ };
    await assert.rejects(assertWritable(path), refused);
    await assert.rejects(writeImage(path, image, parameters), refused);
    assert.equal(await readFile(join(directory, 'job.json'), 'utf8'), text);
    assert.deepEqual(await readdir(directory), ['job.json']);
  }
});

test('a damaged record beside an image of ours is replaced, a Kubernetes object is not', async () => {
  const directory = await newFolder();
  const path = join(directory, 'out.png');
  await writeImage(path, image, parameters);
  for (const damaged of ['{}', '', '{"file": "out.p']) {
    await writeFile(sidecarPath(path), damaged);
    assert.equal(await readRecord(path), undefined);
    await writeImage(path, image, parameters);
    assert.notEqual(await readRecord(path), undefined);
  }
  await writeFile(sidecarPath(path), '{"apiVersion": "sdxl.io/v1alpha1", "kind": "SdxlJob"}');
  await assert.rejects(writeImage(path, image, parameters), { code: 'OUTPUT_UNWRITABLE' });
});

test('a record counts only for the very image it was written with', async () => {
  const directory = await newFolder();
  const [path, other] = [join(directory, 'out.png'), join(directory, 'other.png')];
  await writeImage(path, image, parameters);
  await writeImage(other, image, { ...parameters, seed: 7n });
  assert.notEqual(await readRecord(path), undefined);
  await copyFile(other, path);
  assert.equal(await readRecord(path), undefined, 'the image of another run');
  await writeFile(path, '');
  assert.equal(await readRecord(path), undefined, 'an empty file');
  await rm(path);
  assert.equal(await readRecord(path), undefined, 'no image');
});

test('an older image is replaced', async () => {
  const path = join(await newFolder(), 'out.png');
  await writeFile(path, 'old');
  await writeImage(path, image, parameters);
  assert.notEqual(await readFile(path, 'latin1'), 'old');
});

test('the sidecar of any name', () => {
  assert.deepEqual(['a/b.png', 'b.PNG', 'b', 'b.png.png'].map(sidecarPath), ['a/b.json', 'b.json', 'b.json', 'b.png.json']);
});

test('a bad image is not written', async () => {
  const directory = await newFolder();
  const broken = float32(image.shape, image.data.slice());
  broken.data[7] = NaN;
  await assert.rejects(writeImage(join(directory, 'a.png'), broken, parameters), { code: 'IMAGE_NOT_FINITE' });
  await assert.rejects(writeImage(join(directory, 'a.png'), float32([3, 4, 6]), parameters), { code: 'IMAGE_FLAT' });
  await assert.rejects(writeImage(join(directory, 'a.png'), float32([1, 3, 4, 6], image.data), parameters), RangeError);
  assert.deepEqual(await readdir(directory), []);
});

/** Makes a path that can't be written, and the code that says so. */
const obstacles: [string, () => Promise<string>, string, RegExp][] = [
  [
    'a file as directory',
    async () => {
      const directory = await newFolder();
      await writeFile(join(directory, 'file'), '');
      return join(directory, 'file', 'out.png');
    },
    'EEXIST',
    /a part of the path is a file, not a directory/,
  ],
  [
    'a file as directory further up',
    async () => {
      const directory = await newFolder();
      await writeFile(join(directory, 'file'), '');
      return join(directory, 'file', 'deeper', 'out.png');
    },
    'EEXIST or ENOTDIR',
    /a part of the path is a file, not a directory/,
  ],
  [
    'a directory in its place',
    async () => {
      const path = join(await newFolder(), 'out.png');
      await mkdir(path);
      return path;
    },
    'EISDIR',
    /it is a directory: name a file/,
  ],
  ['a name that is too long', async () => join(await newFolder(), `${'x'.repeat(300)}.png`), 'ENAMETOOLONG', /the name is too long/],
];
for (const [name, make, code, message] of obstacles) {
  for (const [operation, call] of [
    ['writeImage', (path: string) => writeImage(path, image, parameters)],
    ['assertWritable', assertWritable],
  ] as const) {
    test(`${operation}: ${name}`, async () => {
      const path = await make();
      await assert.rejects(call(path), unwritable(path, code, message));
    });
  }
}

test('a sidecar that cannot be replaced leaves no image', async () => {
  const directory = await newFolder();
  await mkdir(join(directory, 'out.json'));
  const path = join(directory, 'out.png');
  await assert.rejects(writeImage(path, image, parameters), unwritable(path, 'EISDIR', /directory/));
  await assert.rejects(assertWritable(path), unwritable(path, 'EISDIR', /directory/));
  assert.deepEqual(await readdir(directory), ['out.json']);
});

test('an image that cannot be placed takes its sidecar with it', async () => {
  const directory = await newFolder();
  const path = join(directory, 'out.png');
  await mkdir(path);
  await assert.rejects(writeImage(path, image, parameters), unwritable(path, 'EISDIR', /directory/));
  assert.deepEqual(await readdir(directory), ['out.png']);
});

test('a write aborted on its way leaves nothing', async () => {
  const directory = await newFolder();
  const controller = new AbortController();
  const pending = writeImage(join(directory, 'out.png'), image, parameters, { signal: controller.signal });
  controller.abort(new Error('stopped'));
  await assert.rejects(pending, /stopped|abort/);
  assert.deepEqual(await readdir(directory), []);
});

test('an aborted write leaves nothing, and its reason', async () => {
  const directory = await newFolder();
  const signal = AbortSignal.abort(new Error('stopped'));
  await assert.rejects(writeImage(join(directory, 'out.png'), image, parameters, { signal }), /stopped/);
  assert.deepEqual(await readdir(directory), []);
});

const isRoot = process.getuid?.() === 0;
test('no permission', { skip: isRoot ? 'root may write everywhere' : false }, async () => {
  const directory = await newFolder();
  await chmod(directory, 0o500);
  const path = join(directory, 'out.png');
  await assert.rejects(assertWritable(path), unwritable(path, 'EACCES', /no permission/));
  await assert.rejects(writeImage(path, image, parameters), unwritable(path, 'EACCES', /no permission/));
});

test('assertWritable leaves only the directory', async () => {
  const directory = join(await newFolder(), 'new');
  await assertWritable(join(directory, 'out.png'));
  assert.deepEqual(await readdir(directory), []);
});

function unwritable(path: string, code: string, message: RegExp): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof SdxlError, String(error));
    assert.equal(error.code, 'OUTPUT_UNWRITABLE');
    const { cause, ...rest } = error.fields;
    assert.deepEqual(rest, { path });
    assert.ok(code.split(' or ').includes(String(cause)), String(cause));
    assert.match(error.message, message);
    assert.ok(error.message.includes(path) && error.message.includes(String(cause)));
    return true;
  };
}
