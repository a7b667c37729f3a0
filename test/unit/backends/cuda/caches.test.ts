/** The caches of kernels and timings, and what their keys are made of. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  architectureName,
  convolutionOutputSize,
  CubinCache,
  cubinKey,
  deserializeMatmulTactic,
  serializeMatmulTactic,
  TimingCache,
  type KernelProgram,
} from '../../../../runtime/backends/cuda/libraries/index.js';

async function temporary(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), 'sdxl-cuda-'));
  return { path, [Symbol.asyncDispose]: async () => rm(path, { recursive: true }) };
}

const program: KernelProgram = {
  name: 'a.cu',
  source: 'extern "C" __global__ void a() {}',
  architecture: 'sm_90a',
  defines: { WIDTH: 8, TYPE: '__half' },
  headers: { 'own.h': '#define X 1' },
  options: ['--use_fast_math'],
};

test('a kernel’s key changes with everything that changes its code, and with nothing else', () => {
  const key = cubinKey(program, '13.0');
  const others: readonly [string, string][] = [
    ['source', cubinKey({ ...program, source: '' }, '13.0')],
    ['architecture', cubinKey({ ...program, architecture: 'sm_80' }, '13.0')],
    ['defines', cubinKey({ ...program, defines: { WIDTH: 4, TYPE: '__half' } }, '13.0')],
    ['headers', cubinKey({ ...program, headers: { 'own.h': '' } }, '13.0')],
    ['options', cubinKey({ ...program, options: [] }, '13.0')],
    ['compiler', cubinKey(program, '12.9')],
  ];
  for (const [what, other] of others) assert.notEqual(other, key, what);
  assert.equal(new Set(others.map(([, other]) => other)).size, others.length);
  assert.equal(cubinKey({ ...program, name: 'b.cu', defines: { TYPE: '__half', WIDTH: 8 } }, '13.0'), key);
});

test('a published kernel is found again; a damaged one is told of and not used', async () => {
  await using folder = await temporary();
  const damage: string[] = [];
  const cache = new CubinCache(join(folder.path, 'kernels'), (reason) => damage.push(reason));
  const path = join(cache.directory, 'key.cubin');
  assert.equal(await cache.find(path), undefined);
  const cubin = Uint8Array.from({ length: 1000 }, (_, index) => index % 256);
  await cache.publish(path, cubin);
  assert.deepEqual(Uint8Array.from((await cache.find(path)) ?? []), cubin);
  assert.deepEqual(await readdir(cache.directory), ['key.cubin']);
  const file = await readFile(path);
  for (const damaged of [file.subarray(0, 500), Buffer.concat([file.subarray(0, -1), Buffer.of(0)]), Buffer.alloc(0)]) {
    await writeFile(path, damaged);
    assert.equal(await cache.find(path), undefined);
  }
  assert.equal(damage.length, 3);
  await cache.publish(path, cubin);
  assert.deepEqual(Uint8Array.from((await cache.find(path)) ?? []), cubin);
});

test('a kernel cache that can’t be written says so', async () => {
  await using folder = await temporary();
  await writeFile(join(folder.path, 'file'), '');
  const cache = new CubinCache(join(folder.path, 'file'), () => undefined);
  await assert.rejects(cache.publish(join(cache.directory, 'x'), new Uint8Array(1)), { code: 'ENGINE_CACHE_UNWRITABLE' });
});

function unexpected(reason: string): void {
  assert.fail(reason);
}

const identity = { device: 'NVIDIA H100', driver: '13.0', cudnn: '9.19.0' };

test('a timing cache is read back as it was saved, and equal caches are equal files', async () => {
  await using folder = await temporary();
  const path = join(folder.path, 'deep', 'timings.json');
  const cache = new TimingCache(identity);
  cache.set('b', { tactic: 'AAAA 0', label: 'algo 66', microseconds: 12.5 });
  cache.set('a', { tactic: '{"x":1}', label: 'engine 41', microseconds: 97 });
  await cache.save(path);
  const read = await TimingCache.open(path, identity, unexpected);
  assert.equal(read.size, 2);
  assert.deepEqual(read.get('b'), cache.get('b'));
  assert.equal(read.get('c'), undefined);
  await read.save(`${path}.2`);
  assert.deepEqual(await readFile(`${path}.2`), await readFile(path));
  assert.deepEqual((await readdir(join(folder.path, 'deep'))).sort(), ['timings.json', 'timings.json.2']);
});

test('a timing cache from elsewhere, of another format, or damaged is dismissed with its reason', async () => {
  await using folder = await temporary();
  const path = join(folder.path, 'timings.json');
  assert.equal((await TimingCache.open(path, identity, unexpected)).size, 0);
  const cache = new TimingCache(identity);
  cache.set('a', { tactic: '', label: '', microseconds: 1 });
  await cache.save(path);
  const whole = await readFile(path, 'utf8');
  const cases: readonly [string, string, Readonly<Record<string, string>>, RegExp][] = [
    ['another device', whole, { ...identity, device: 'NVIDIA A100' }, /device NVIDIA H100, this is NVIDIA A100/u],
    ['one more library', whole, { ...identity, nccl: '2.28' }, /nccl undefined, this is 2\.28/u],
    ['another format', whole.replace('"format": 1', '"format": 0'), identity, /format 1/u],
    ['half a file', whole.slice(0, whole.length / 2), identity, /JSON/u],
    ['a damaged entry', whole.replace('"microseconds": 1', '"microseconds": null'), identity, /entry of a is damaged/u],
  ];
  for (const [what, text, wanted, reason] of cases) {
    await writeFile(path, text);
    const reasons: string[] = [];
    const opened = await TimingCache.open(path, wanted, (each) => reasons.push(each));
    assert.equal(opened.size, 0, what);
    assert.equal(reasons.length, 1, what);
    assert.match(reasons[0] ?? '', reason, what);
  }
});

test('a timing cache takes what it lacks from another, and adds to a file what that lacks', async () => {
  await using folder = await temporary();
  const path = join(folder.path, 'shared.json');
  const entry = { tactic: 'AAAA 0', label: 'algo 66', microseconds: 12.5 };
  const source = new TimingCache(identity, [
    ['a', entry],
    ['b', entry],
  ]);
  const cache = new TimingCache(identity, [], source);
  assert.deepEqual(cache.get('a'), entry);
  assert.equal(cache.get('c'), undefined);
  cache.set('c', { ...entry, microseconds: 3 });
  // Only what was asked for or set belongs to it.
  assert.equal(cache.size, 2);
  await cache.addTo(path, unexpected);
  await source.addTo(path, unexpected);
  const shared = await TimingCache.open(path, identity, unexpected);
  assert.deepEqual(
    ['a', 'b', 'c'].map((problem) => shared.get(problem)?.microseconds),
    [12.5, 12.5, 3],
  );
  const before = await readFile(path);
  const reasons: string[] = [];
  await new TimingCache({ ...identity, device: 'NVIDIA A100' }, [['d', entry]]).addTo(path, (reason) => reasons.push(reason));
  assert.match(reasons.join(), /made with device NVIDIA H100/u);
  assert.deepEqual(await readFile(path), before);
});

test('a product’s algorithm survives as text; other texts are none', () => {
  const tactic = { algo: Uint8Array.from({ length: 64 }, (_, index) => 255 - index), workspaceBytes: 1 << 25 };
  assert.deepEqual(deserializeMatmulTactic(serializeMatmulTactic(tactic)), tactic);
  for (const text of ['', 'AAAA 0', `${Buffer.alloc(64).toString('base64')} x`, Buffer.alloc(64).toString('base64')]) {
    assert.equal(deserializeMatmulTactic(text), undefined, text);
  }
});

test('names of architectures', () => {
  for (const [capability, name] of [
    [[8, 0], 'sm_80'],
    [[8, 9], 'sm_89'],
    [[9, 0], 'sm_90a'],
    [[10, 0], 'sm_100a'],
    [[12, 0], 'sm_120a'],
  ] as const) {
    assert.equal(architectureName(capability), name);
  }
});

test('a convolution’s output size', () => {
  const base = { batch: 1, inChannels: 8, outChannels: 8, dtype: 'f16', bias: true, residual: false } as const;
  const at = { top: 1, bottom: 1, left: 1, right: 1 };
  assert.deepEqual(convolutionOutputSize({ ...base, height: 32, width: 48, kernel: 3, stride: 1, padding: at }), [32, 48]);
  assert.deepEqual(convolutionOutputSize({ ...base, height: 32, width: 48, kernel: 3, stride: 2, padding: at }), [16, 24]);
  assert.deepEqual(
    convolutionOutputSize({ ...base, height: 33, width: 48, kernel: 3, stride: 2, padding: { ...at, top: 0, bottom: 0 } }),
    [16, 24],
  );
  assert.deepEqual(
    convolutionOutputSize({
      ...base,
      height: 32,
      width: 48,
      kernel: 1,
      stride: 1,
      padding: { ...at, top: 0, bottom: 0, left: 0, right: 0 },
    }),
    [32, 48],
  );
});
