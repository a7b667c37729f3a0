import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rename, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { EngineCache, engineKey } from '../../../runtime/engine/index.js';

const files = new Map([
  ['a.onnx', Buffer.from('first')],
  ['b.json', Buffer.from('{}')],
]);
const pipe = async (path: string): Promise<void> => {
  await rm(path);
  execFileSync('mkfifo', [path]);
};
const ago = (ms: number): Date => new Date(Date.now() - ms);
const neverDamaged = (reason: string): void => assert.fail(reason);

describe('engine cache', () => {
  let root: string;
  let cache: EngineCache;
  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'sdxl-cache-'));
    cache = new EngineCache(root);
  });
  afterEach(async () => {
    await rm(root, { recursive: true, force: true });
  });

  it('finds what was published, and nothing before', async () => {
    assert.equal(await cache.find('k', neverDamaged), undefined);
    await cache.publish('k', { backend: 'onnx' }, files);
    assert.deepEqual(await cache.find('k', neverDamaged), files);
    assert.deepEqual(await readdir(join(root, 'staging')), []);
  });

  it('tolerates builders at the same time: one copy stays', async () => {
    await Promise.all(Array.from({ length: 8 }, () => cache.publish('k', {}, files)));
    assert.deepEqual(await cache.find('k', neverDamaged), files);
    assert.deepEqual(await readdir(join(root, 'engines')), ['k']);
    assert.deepEqual(await readdir(join(root, 'staging')), []);
  });

  it('takes away what killed builders have left for over an hour, and no other', async () => {
    const staging = join(root, 'staging');
    const leave = async (name: string, folderAgeMs: number, fileAgeMs: number): Promise<void> => {
      await mkdir(join(staging, name), { recursive: true });
      await writeFile(join(staging, name, 'a.onnx'), 'half');
      await utimes(join(staging, name, 'a.onnx'), ago(fileAgeMs), ago(fileAgeMs));
      await utimes(join(staging, name), ago(folderAgeMs), ago(folderAgeMs));
    };
    await leave('abandoned', 3_700_000, 3_700_000);
    await leave('new', 60_000, 60_000);
    // A large file is still written to.
    await leave('slow', 3_700_000, 60_000);
    await cache.publish('k', {}, files);
    assert.deepEqual((await readdir(staging)).sort(), ['new', 'slow']);
    assert.deepEqual(await cache.find('k', neverDamaged), files);
  });

  const damage: Readonly<Record<string, (directory: string) => Promise<void>>> = {
    'a changed byte': (directory) => writeFile(join(directory, 'a.onnx'), 'fIrst'),
    'a truncated file': (directory) => truncate(join(directory, 'a.onnx'), 2),
    'a missing file': (directory) => rm(join(directory, 'b.json')),
    'a missing manifest': (directory) => rm(join(directory, 'manifest.json')),
    // These would be waited for without end, or lead elsewhere.
    'a pipe for a manifest': (directory) => pipe(join(directory, 'manifest.json')),
    'a pipe for a file': (directory) => pipe(join(directory, 'a.onnx')),
    'a folder for a file': async (directory) => {
      await rm(join(directory, 'a.onnx'));
      await mkdir(join(directory, 'a.onnx'));
    },
    'a link for a manifest': async (directory) => {
      await rename(join(directory, 'manifest.json'), join(root, 'elsewhere'));
      await symlink(join(root, 'elsewhere'), join(directory, 'manifest.json'));
    },
    'a link for a file': async (directory) => {
      await rename(join(directory, 'a.onnx'), join(root, 'elsewhere'));
      await symlink(join(root, 'elsewhere'), join(directory, 'a.onnx'));
    },
    'a manifest cut short': (directory) => truncate(join(directory, 'manifest.json'), 10),
    'a manifest of another format': (directory) => writeFile(join(directory, 'manifest.json'), '{"format": 99, "files": {}}'),
    'a manifest that names files outside': (directory) =>
      writeFile(join(directory, 'manifest.json'), '{"format": 1, "files": {"../x": {"sizeBytes": 1, "sha256": ""}}}'),
  };
  for (const [name, harm] of Object.entries(damage)) {
    it(`takes ${name} for damage, says so, and the engine can be published again`, async () => {
      const directory = await cache.publish('k', {}, files);
      await harm(directory);
      const reasons: string[] = [];
      assert.equal(await cache.find('k', (reason) => reasons.push(reason)), undefined);
      assert.equal(reasons.length, 1);
      await cache.publish('k', {}, files);
      assert.deepEqual(await cache.find('k', neverDamaged), files);
    });
  }

  it('says which folder cannot be written', async () => {
    const blocked = join(root, 'file');
    await writeFile(blocked, '');
    await assert.rejects(new EngineCache(join(blocked, 'cache')).publish('k', {}, files), {
      code: 'ENGINE_CACHE_UNWRITABLE',
      message: /cannot write the engine cache .*--cache-dir/,
    });
  });

  it('keeps what the key was made of', async () => {
    await cache.publish('k', { backend: 'onnx', graph: 'abc' }, files);
    const manifest: unknown = JSON.parse(await readFile(join(root, 'engines', 'k', 'manifest.json'), 'utf8'));
    assert.ok(typeof manifest === 'object' && manifest !== null && 'fields' in manifest);
    assert.deepEqual(manifest.fields, { backend: 'onnx', graph: 'abc' });
  });
});

describe('engine key', () => {
  it('changes with every field and not with their order', () => {
    const key = engineKey({ a: '1', b: '2' });
    assert.equal(engineKey({ b: '2', a: '1' }), key);
    for (const other of [{ a: '1', b: '3' }, { a: '1' }, { a: '1', b: '2', c: '' }, { a: '12', b: '' }])
      assert.notEqual(engineKey(other), key);
  });
});
