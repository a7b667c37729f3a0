/** `sdxl run --output s3://…` against a server that speaks S3: images whole and once, whatever becomes of the server meanwhile. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { decode } from 'fast-png';
import { packageFile } from '../../runtime/package-root.js';
import { fixture } from '../support/fixtures.js';
import { objectStorageSkip, ObjectStorage } from '../support/object-storage.js';
import { eventually, Sdxl, sdxl, smallJob, Workspace, type SdxlOptions } from '../support/sdxl.js';

const model = fixture('random-sdxl');
/** So that a server that goes away after the first image goes away before the last. */
const slowly = ['--num-inference-steps', '30'];

describe('images in object storage', { skip: objectStorageSkip }, () => {
  let storage: ObjectStorage;
  let shared: Workspace;

  before(async () => {
    storage = await ObjectStorage.open(['pictures']);
    shared = await Workspace.open();
  });
  after(async () => {
    await storage[Symbol.asyncDispose]();
    await shared[Symbol.asyncDispose]();
  });

  const options = (env: Readonly<Record<string, string>> = {}): SdxlOptions => ({
    cwd: shared.path,
    env: { ...storage.environment, SDXL_CACHE_DIR: shared.file('cache'), ...env },
  });
  const job = (output: string, ...more: readonly string[]): string[] => [
    ...smallJob(model, '--output', output, '--output-endpoint', storage.endpoint),
    ...more,
  ];
  const pixels = async (key: string): Promise<ArrayLike<number>> => decode(await readFile(storage.file('pictures', key))).data;
  const writes = async (): Promise<readonly string[]> =>
    (await storage.requests()).flatMap((line) => /^PUT \/pictures\/([^?]+)\?x-id=PutObject/u.exec(line)?.[1] ?? []);
  /** Images that wait for their upload. */
  const waiting = async (): Promise<readonly string[]> => {
    const folders = await shared.list('cache/uploads').catch((): string[] => []);
    return (await Promise.all(folders.map(async (folder) => await shared.list(`cache/uploads/${folder}`)))).flat();
  };

  test('are those of a file, named by URIs, and kept by the next run', async () => {
    const made = await sdxl(job('s3://pictures/a/b/x.png', '--num-images', '2'), options());
    assert.equal(made.code, 0, made.stderr);
    assert.match(made.stdout, /^s3:\/\/pictures\/a\/b\/x-0\.png\ns3:\/\/pictures\/a\/b\/x-1\.png$/mu);
    // The record first: where there is an image, all of it is there.
    assert.deepEqual(await writes(), ['a/b/x-0.json', 'a/b/x-0.png', 'a/b/x-1.json', 'a/b/x-1.png']);
    assert.deepEqual(await waiting(), []);
    const file = await sdxl(smallJob(model, '--num-images', '2', '--output', 'x.png'), options());
    assert.equal(file.code, 0, file.stderr);
    for (const index of [0, 1]) {
      assert.deepEqual(await pixels(`a/b/x-${String(index)}.png`), decode(await readFile(shared.file(`x-${String(index)}.png`))).data);
      const record = JSON.parse(await readFile(storage.file('pictures', `a/b/x-${String(index)}.json`), 'utf8')) as {
        readonly file: string;
      };
      assert.equal(record.file, `x-${String(index)}.png`);
    }
    await storage.requests();
    const kept = await sdxl(job('s3://pictures/a/b/x.png', '--num-images', '2', '--resume'), options());
    assert.equal(kept.code, 0, kept.stderr);
    assert.match(kept.stdout, /x-0\.png \(kept\)\n.*x-1\.png \(kept\)\n$/u);
    assert.deepEqual(await writes(), []);
    // What somebody else has put there is no image of this job, and one that was copied with other means is.
    await storage.put('pictures', 'a/b/x-0.png', await readFile(storage.file('pictures', 'a/b/x-1.png')));
    await storage.put('pictures', 'a/b/x-1.png', await readFile(storage.file('pictures', 'a/b/x-1.png')));
    await storage.requests();
    const repaired = await sdxl(job('s3://pictures/a/b/x.png', '--num-images', '2', '--resume'), options());
    assert.match(repaired.stdout, /x-0\.png\n.*x-1\.png \(kept\)\n$/u);
    assert.deepEqual(await writes(), ['a/b/x-0.json', 'a/b/x-0.png']);
  });

  test('of two replicas are all there', async () => {
    const { code, stderr } = await sdxl(job('s3://pictures/replicas', '--num-images', '4', '--data-degree', '2'), options());
    assert.equal(code, 0, stderr);
    const found = (await storage.keys('pictures')).filter((key) => key.startsWith('replicas/output-') && key.endsWith('.png'));
    assert.equal(found.length, 4);
    assert.equal(new Set(await writes()).size, 8);
  });

  test('wait for a server that goes away and comes back', async () => {
    const running = new Sdxl(job('s3://pictures/gap/x.png', '--num-images', '6', ...slowly), options());
    await running.until(/image 2\/6: s3:/u);
    await storage.stop();
    await running.until(/warn +object storage is tried again in \d+\.\d s: bucket pictures, key gap\/x-\d\.\w+, endpoint http/u);
    await storage.start();
    const { code, stderr } = await running.end();
    assert.equal(code, 0, stderr);
    const found = (await storage.keys('pictures')).filter((key) => key.startsWith('gap/'));
    assert.equal(found.length, 12);
    assert.deepEqual(await waiting(), []);
  });

  test('are uploaded while the next one is made, two at most, and none waits in memory', async () => {
    const running = new Sdxl(job('s3://pictures/beside/x.png', '--num-images', '6', ...slowly), options());
    await running.until(/image 1\/6: s3:/u);
    storage.freeze();
    try {
      // What the server had answered may be heard late.
      const left = await eventually('two images that wait for long', async () => {
        const first = await waiting();
        if (first.length === 4) await delay(1_000);
        return first.length === 4 && (await waiting()).join() === first.join() ? first : undefined;
      });
      const done = [...running.stderr.matchAll(/image \d\/6: s3:/gu)].length;
      assert.deepEqual(
        left.map((name) => name.replace(/\.\w+$/u, '')),
        [done, done, done + 1, done + 1].map((image) => `x-${String(image)}`),
      );
      assert.doesNotMatch(running.stderr, new RegExp(`image ${String(done + 3)}/6: encode`, 'u'));
    } finally {
      storage.thaw();
    }
    const { code, stderr } = await running.end();
    assert.equal(code, 0, stderr);
    assert.equal((await storage.keys('pictures')).filter((key) => key.startsWith('beside/')).length, 12);
    assert.deepEqual(await waiting(), []);
  });

  test('are not lost with a server that stays away: the next attempt uploads them and makes nothing anew', async () => {
    const spec = {
      ...{ model: { path: model }, prompt: 'flowers', height: 128, width: 128, numInferenceSteps: 30, numImages: 3 },
      output: { path: 'x.png', s3: { bucket: 'pictures', prefix: 'away', endpoint: storage.endpoint } },
      progressDeadlineSeconds: 8,
    };
    const file = { apiVersion: 'sdxl.io/v1alpha1', kind: 'SdxlJob', metadata: { name: 'away' }, spec };
    await writeFile(shared.file('away.json'), JSON.stringify(file));
    const running = new Sdxl(['run', '-f', 'away.json', '--resume'], options());
    await running.until(/image 1\/3: s3:/u);
    await storage.stop();
    const failed = await running.end();
    assert.equal(failed.code, 75, failed.stderr);
    assert.match(
      failed.stderr,
      /^error ADDRESS_UNAVAILABLE: .*object storage did not take what it was sent in 4 s: bucket pictures, key away\/x-\d\.\w+, endpoint http:\/\/127\.0\.0\.1:\d+: /mu,
    );
    const left = await waiting();
    // One that was made meanwhile waits as well: it was not left in memory.
    const uploaded = left.filter((name) => name.endsWith('.png'));
    assert.ok(uploaded.length === 1 || uploaded.length === 2, left.join());
    assert.equal(left.length, 2 * uploaded.length, left.join());
    await storage.start();
    const before = await storage.keys('pictures');
    const again = await sdxl(['run', '-f', 'away.json', '--resume'], options());
    assert.equal(again.code, 0, again.stderr);
    for (const name of uploaded) assert.ok(again.stdout.includes(`s3://pictures/away/${name} (kept)\n`), again.stdout);
    assert.equal((await storage.keys('pictures')).filter((key) => key.startsWith('away/')).length, 6, before.join());
    assert.deepEqual(await waiting(), []);
  });

  test('do not replace a JSON object of somebody else', async () => {
    await storage.put('pictures', 'theirs/x.json', Buffer.from('{"apiVersion":"v1"}'));
    const { code, stderr } = await sdxl(job('s3://pictures/theirs/x.png'), options());
    assert.equal(code, 3, stderr);
    assert.match(stderr, /^error OUTPUT_UNWRITABLE: s3:\/\/pictures\/theirs\/x\.png can't be written: .*the key theirs\/x\.json/mu);
    assert.equal(await readFile(storage.file('pictures', 'theirs/x.json'), 'utf8'), '{"apiVersion":"v1"}');
  });

  const refusals: readonly {
    readonly name: string;
    readonly output?: string;
    readonly endpoint?: string;
    readonly env?: Readonly<Record<string, string>>;
    readonly code: number;
    readonly says: RegExp;
  }[] = [
    {
      name: 'a bucket that is not there',
      output: 's3://nothing/x.png',
      code: 3,
      says: /OUTPUT_UNWRITABLE: object storage refuses: bucket nothing, key x\.\w+, endpoint http.*NoSuchBucket.*; name another bucket/u,
    },
    {
      name: 'a wrong secret',
      env: { AWS_SECRET_ACCESS_KEY: 'guessed' },
      code: 3,
      says: /OUTPUT_UNWRITABLE: object storage refuses: .*403 SignatureDoesNotMatch.*needs s3:PutObject, s3:GetObject/u,
    },
    {
      name: 'a server that is not there',
      endpoint: 'http://127.0.0.1:9',
      code: 75,
      says: /ADDRESS_UNAVAILABLE: .*endpoint http:\/\/127\.0\.0\.1:9: .*ECONNREFUSED/u,
    },
    { name: 'a bucket without a name', output: 's3:///x.png', code: 2, says: /JOB_INVALID: --output: is empty: name of the bucket/u },
    {
      name: 'a bucket in capitals',
      output: 's3://Pictures/x',
      code: 2,
      says: /JOB_INVALID: --output: "Pictures" must be the name of a bucket/u,
    },
    { name: 'an endpoint without a bucket', output: 'x.png', code: 2, says: /USAGE: --output-endpoint is where object storage is/u },
  ];
  for (const { name, output = 's3://pictures/x.png', endpoint, env = {}, code, says } of refusals) {
    test(`refused before a rank is started: ${name}`, async () => {
      const args = smallJob(model, '--output', output, '--output-endpoint', endpoint ?? storage.endpoint);
      const finished = await sdxl(args, options(env));
      assert.equal(finished.code, code, finished.stderr);
      assert.match(finished.stderr, says);
      assert.doesNotMatch(finished.stderr, / started /u);
    });
  }

  test('the upload folder may be lost: what is in the bucket is complete', async () => {
    await rm(shared.file('cache/uploads'), { recursive: true, force: true });
    const { stdout } = await sdxl(job('s3://pictures/a/b/x.png', '--num-images', '2', '--resume'), options());
    assert.match(stdout, /x-0\.png \(kept\)\n.*x-1\.png \(kept\)\n$/u);
  });
});

test('who does not use object storage does not load its client', async () => {
  for (const entry of [
    'dist/runtime/launch/index.js',
    'dist/runtime/cli/program.js',
    'dist/runtime/launch/rank.js',
    'dist/operator/serve.js',
  ]) {
    const script = `import { createRequire } from 'node:module';
      await import(${JSON.stringify(packageFile(entry))});
      const { cache } = createRequire(${JSON.stringify(packageFile('package.json'))});
      console.log(JSON.stringify(Object.keys(cache).filter((file) => /@aws-sdk|@smithy/.test(file))));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script]);
    assert.deepEqual(JSON.parse(stdout), [], entry);
  }
});
