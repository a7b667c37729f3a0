/** `sdxl fetch --s3` against a server that speaks S3 and checks signatures: whole models, interruptions, refusals. */
import assert from 'node:assert/strict';
import { readdir, readFile, stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { freePort } from '../support/cluster/ports.js';
import { FaultProxy } from '../support/fault-proxy.js';
import { fixture } from '../support/fixtures.js';
import { objectStorageSkip, ObjectStorage } from '../support/object-storage.js';
import { eventually, Sdxl, sdxl, Workspace, type SdxlOptions } from '../support/sdxl.js';

const model = fixture('random-sdxl');
const weights = 'unet/diffusion_pytorch_model.safetensors';

describe('a model in object storage', { skip: objectStorageSkip }, () => {
  let storage: ObjectStorage;

  before(async () => {
    storage = await ObjectStorage.open(['models']);
    await storage.putFolder('models', 'sdxl/random', model);
    await storage.put('models', 'sdxl/random/README.md', Buffer.from('no part of a model'));
  });
  after(async () => {
    await storage[Symbol.asyncDispose]();
  });

  const fetchArgs = (endpoint = storage.endpoint): string[] => [
    ...['fetch', '--s3', 's3://models/sdxl/random', '--endpoint', endpoint, '--output', 'models/random'],
  ];
  const inside = (workspace: Workspace, env: Readonly<Record<string, string>> = {}): SdxlOptions => ({
    cwd: workspace.path,
    env: { ...storage.environment, ...env },
  });

  async function assertWhole(workspace: Workspace): Promise<void> {
    assert.deepEqual(await workspace.list('models'), ['random']);
    const entries = (await readdir(model, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    const names = entries.map((entry) => join(entry.parentPath, entry.name).slice(model.length + 1));
    for (const name of names)
      assert.deepEqual(await readFile(workspace.file('models/random', name)), await readFile(join(model, name)), name);
    const fetched = await readdir(workspace.file('models/random'), { recursive: true, withFileTypes: true });
    assert.equal(fetched.filter((entry) => entry.isFile()).length, names.length);
  }

  /** A proxy that passes 64 KiB at a time, late. */
  async function slowProxy(delayMs: number): Promise<FaultProxy & { readonly endpoint: string }> {
    const from = { host: '127.0.0.1', port: await freePort() };
    const proxy = await FaultProxy.open(from, { host: '127.0.0.1', port: storage.port });
    proxy.slow(() => delayMs);
    return Object.assign(proxy, { endpoint: `http://127.0.0.1:${String(from.port)}` });
  }

  test('is fetched whole, and kept when it is there', async () => {
    await using workspace = await Workspace.open();
    const { code, stdout, stderr } = await sdxl(fetchArgs(), inside(workspace));
    assert.equal(code, 0, stderr);
    assert.equal(stdout, 'models/random\n');
    assert.doesNotMatch(stderr, /Warning/u);
    await assertWhole(workspace);
    await storage.requests();
    assert.equal((await sdxl(fetchArgs(), inside(workspace))).stdout, 'models/random (kept)\n');
    assert.deepEqual(await storage.requests(), []);
  });

  test('is found by what the environment says as well', async () => {
    await using workspace = await Workspace.open();
    const args = ['fetch', '--s3', 's3://models/sdxl/random/', '--output', 'models/random'];
    const { code, stderr } = await sdxl(args, inside(workspace, { AWS_ENDPOINT_URL: storage.endpoint, AWS_REGION: 'eu-central-1' }));
    assert.equal(code, 0, stderr);
    await assertWhole(workspace);
  });

  test('is gone on with where a killed process has left it', async () => {
    await using workspace = await Workspace.open();
    await using proxy = await slowProxy(40);
    const first = new Sdxl(fetchArgs(proxy.endpoint), inside(workspace));
    const present = await eventually('part of the weights', async () => {
      const folder = (await workspace.list('models').catch((): string[] => [])).find((name) => name.includes('.partial-'));
      const size = folder === undefined ? 0 : await sizeOf(workspace.file('models', folder, weights));
      return size > 0 ? size : undefined;
    });
    first.kill('SIGKILL');
    assert.equal((await first.end()).code, 137);
    const { size } = await stat(join(model, weights));
    assert.ok(present < size);
    await storage.requests();
    const { code, stderr } = await sdxl(fetchArgs(), inside(workspace));
    assert.equal(code, 0, stderr);
    assert.match(stderr, /^unet\/diffusion_pytorch_model\.safetensors, .* of it are there$/mu);
    const gets = (await storage.requests()).filter((line) => line.startsWith('GET') && !line.includes('list-type'));
    const [range, ...others] = gets.filter((line) => line.includes(weights)).map((line) => /range="bytes=(\d+)-"/u.exec(line)?.[1]);
    assert.deepEqual(others, []);
    assert.ok(Number(range) >= present, `${String(range)} of at least ${String(present)}`);
    // Files before it in the listing were whole.
    assert.ok(!gets.some((line) => line.includes('text_encoder/model.safetensors')));
    await assertWhole(workspace);
  });

  test('comes through a server that goes away and comes back', async () => {
    await using workspace = await Workspace.open();
    await using proxy = await slowProxy(40);
    const running = new Sdxl(fetchArgs(proxy.endpoint), inside(workspace));
    await running.until(/^unet\/diffusion_pytorch_model/mu);
    await storage.stop();
    await running.until(/^tried again in \d+\.\d s: /mu);
    await storage.start();
    const { code, stderr } = await running.end();
    assert.equal(code, 0, stderr);
    await assertWhole(workspace);
  });

  test('is fetched once by two who want it at once, the other waits', async () => {
    await using workspace = await Workspace.open();
    await storage.requests();
    await using proxy = await slowProxy(5);
    const both = [0, 1].map(() => new Sdxl(fetchArgs(proxy.endpoint), inside(workspace)));
    const finished = await Promise.all(both.map(async (each) => await each.end()));
    assert.deepEqual(
      finished.map(({ code }) => code),
      [0, 0],
      finished.map(({ stderr }) => stderr).join('\n'),
    );
    assert.deepEqual(finished.map(({ stdout }) => stdout).sort(), ['models/random\n', 'models/random (kept)\n'].sort());
    assert.equal((await storage.requests()).filter((line) => line.startsWith('GET') && line.includes(weights)).length, 1);
    await assertWhole(workspace);
  });

  test('is not published where an object is cut short or altered', async () => {
    await using damagedStorage = await ObjectStorage.open(['models']);
    await damagedStorage.putFolder('models', 'sdxl', model);
    const file = damagedStorage.file('models', 'sdxl/vae/config.json');
    await truncate(file, 100);
    await using workspace = await Workspace.open();
    const args = [
      'fetch',
      '--s3',
      's3://models/sdxl',
      '--endpoint',
      damagedStorage.endpoint,
      '--retry-for',
      '1',
      '--output',
      'models/random',
    ];
    const { code, stderr } = await sdxl(args, inside(workspace));
    assert.equal(code, 75, stderr);
    assert.match(stderr, /^error ADDRESS_UNAVAILABLE: s3:\/\/models\/sdxl was not fetched: vae\/config\.json .* announced/mu);
    assert.ok(!(await workspace.list('models')).includes('random'));
    // Once it is whole again, only what was damaged is fetched.
    await damagedStorage.put('models', 'sdxl/vae/config.json', await readFile(join(model, 'vae/config.json')));
    const again = await sdxl(args, inside(workspace));
    assert.equal(again.code, 0, again.stderr);
    await assertWhole(workspace);
  });

  const refusals: readonly {
    readonly name: string;
    readonly args?: () => readonly string[];
    readonly env?: Readonly<Record<string, string>>;
    readonly code: number;
    readonly says: RegExp;
  }[] = [
    {
      name: 'a bucket that is not there',
      args: () => ['--s3', 's3://nothing/sdxl'],
      code: 2,
      says: /MODEL_NOT_FOUND: s3:\/\/nothing\/sdxl can't be fetched: bucket nothing, .*endpoint http:.* NoSuchBucket: .*; name another bucket/u,
    },
    {
      name: 'a prefix of nothing',
      args: () => ['--s3', 's3://models/nothing'],
      code: 2,
      says: /MODEL_NOT_FOUND: s3:\/\/models\/nothing can't be fetched: no object has that prefix/u,
    },
    {
      name: 'a prefix above the model',
      args: () => ['--s3', 's3://models/sdxl'],
      code: 2,
      says: /none of its \d+ objects is model_index\.json: it is no model in diffusers layout/u,
    },
    {
      name: 'a wrong secret',
      env: { AWS_SECRET_ACCESS_KEY: 'guessed' },
      code: 2,
      says: /MODEL_NOT_FOUND: .* 403 SignatureDoesNotMatch: .*; whoever these credentials stand for needs s3:ListBucket and s3:GetObject/u,
    },
    { name: 'an unknown key', env: { AWS_ACCESS_KEY_ID: 'nobody' }, code: 2, says: /MODEL_NOT_FOUND: .* 403 InvalidAccessKeyId/u },
    {
      name: 'no identity at all',
      env: { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: '', AWS_EC2_METADATA_DISABLED: 'true', HOME: '/nowhere' },
      code: 2,
      says: /MODEL_NOT_FOUND: .*CredentialsProviderError.*; give AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY/u,
    },
    {
      name: 'a server that is not there',
      args: () => ['--endpoint', 'http://127.0.0.1:9', '--retry-for', '1'],
      code: 75,
      says: /tried again in .*\nerror ADDRESS_UNAVAILABLE: s3:\/\/models\/sdxl\/random was not fetched: .*endpoint http:\/\/127\.0\.0\.1:9: .*ECONNREFUSED/su,
    },
    { name: 'no URI', args: () => ['--s3', 'models/sdxl'], code: 2, says: /USAGE: --s3 models\/sdxl: it must have the form s3:/u },
    { name: 'two sources', args: () => ['--repo', 'a/b'], code: 2, says: /USAGE: give either --repo, .* or --s3/u },
    { name: 'a revision of a bucket', args: () => ['--revision', 'a'], code: 2, says: /USAGE: --revision is of repositories/u },
  ];
  for (const { name, args = () => [], env = {}, code, says } of refusals) {
    test(`refused: ${name}`, async () => {
      await using workspace = await Workspace.open();
      const own = args();
      // An option may be given once.
      const kept = fetchArgs().filter((_, index, all) => !own.includes(all[index - 1] ?? '') && !own.includes(all[index] ?? ''));
      const finished = await sdxl([...kept, ...own], inside(workspace, env));
      assert.equal(finished.code, code, finished.stderr);
      assert.match(finished.stderr, says);
      assert.ok(!(await workspace.list('models').catch((): string[] => [])).includes('random'));
    });
  }
});

async function sizeOf(path: string): Promise<number> {
  return stat(path).then(
    ({ size }) => size,
    () => 0,
  );
}
