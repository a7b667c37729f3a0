/**
 * Lives of a rank on a stand-in for NVIDIA's libraries, which checks what it is asked for: one engine for many kinds of images, engines and
 * timings that were made elsewhere or are damaged.
 */
import assert from 'node:assert/strict';
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, beforeEach, describe, test } from 'node:test';
import { Model, type ImageRequest } from '../../../../runtime/pipeline/index.js';
import { lifeRequest, liveOnDevice, type Life, type LifeOptions } from '../../../support/cuda-life.js';
import { CudaStandIn, standInSkipReason, type StandInControl } from '../../../support/cuda-stand-in/index.js';
import { fixture } from '../../../support/fixtures.js';

describe('lives on a device', { skip: standInSkipReason }, () => {
  let standIn: CudaStandIn;
  let control: StandInControl;
  let model: Model;
  let folder: string;

  before(async () => {
    standIn = new CudaStandIn();
    control = standIn.control();
    model = await Model.open(fixture('random-sdxl'));
    folder = await mkdtemp(join(tmpdir(), 'sdxl-lives-'));
  });
  after(async () => {
    await model[Symbol.asyncDispose]();
    standIn[Symbol.dispose]();
    await rm(folder, { recursive: true });
  });
  beforeEach(() => void control.reset());
  afterEach(() => {
    delete process.env['SDXL_STAND_IN_NAME'];
    delete process.env['SDXL_STAND_IN_WORKSPACE'];
  });

  async function live(cache: string, options: Partial<LifeOptions> = {}): Promise<Life> {
    const life = await liveOnDevice({
      model,
      cacheDirectory: join(folder, cache),
      libraryPath: standIn.folder,
      tacticLimit: 2,
      requests: [lifeRequest],
      ...options,
    });
    assert.deepEqual([control.misuse, control.abandoned(), control.held()], ['', 0, {}]);
    return life;
  }

  const long = 'a very long prompt of many words '.repeat(12);
  const kinds: Readonly<Record<string, Partial<ImageRequest>>> = {
    'as the engine was built': {},
    'another size, no multiple of 64': { height: 96, width: 160 },
    'levels of odd sizes': { height: 104, width: 72 },
    'more steps than tables have room for': { numInferenceSteps: 70 },
    'without guidance': { guidanceScale: 1 },
    'with guidance again': {},
    'a negative prompt': { negativePrompt: 'blurry' },
    '154 tokens and more': { prompt: long, promptSyntax: 'Weighted' },
    '77 tokens again': { promptSyntax: 'Weighted' },
    'guidance scaled back, on the host': { guidanceRescale: 0.7 },
    ancestral: { scheduler: { className: 'EulerAncestralDiscreteScheduler' } },
    LCM: { scheduler: { className: 'LCMScheduler' } },
    'two steps back': { scheduler: { className: 'DPMSolverMultistepScheduler' } },
    'as the engine was built, after all others': {},
  };

  test('one engine makes images of every kind in turn', async () => {
    const { images } = await live('kinds', { requests: Object.values(kinds).map((kind) => ({ ...lifeRequest, ...kind })), tacticLimit: 1 });
    images.forEach(({ shape }, index) => {
      const { height, width } = { ...lifeRequest, ...Object.values(kinds)[index] };
      assert.deepEqual(shape, [3, height, width], Object.keys(kinds)[index]);
    });
  });

  test('every step has a row in the table of noise, also those that add none: what lies there is multiplied by zero', async () => {
    const copies = async (className: string): Promise<number> => {
      control.reset();
      await live('kinds', { requests: [{ ...lifeRequest, numInferenceSteps: 5, scheduler: { className } }], tacticLimit: 1 });
      return control.calls('cuMemcpyHtoD_v2');
    };
    assert.equal((await copies('EulerAncestralDiscreteScheduler')) - (await copies('EulerDiscreteScheduler')), 5);
  });

  for (const tacticLimit of [1, 2]) {
    test(`plans that want more workspace than there is are not taken (${String(tacticLimit)} timed)`, async () => {
      process.env['SDXL_STAND_IN_WORKSPACE'] = String(100 << 20);
      await live(`workspace-${String(tacticLimit)}`, { tacticLimit });
      assert.deepEqual([...(await live(`workspace-${String(tacticLimit)}`, { tacticLimit })).cached.values()], [true, true, true, true]);
    });
  }

  test('an engine of another device is not taken, nor its timings; with the first device again both are', async () => {
    const timingCache = join(folder, 'timings.json');
    const first = await live('devices', { timingCache });
    assert.deepEqual([...first.cached.values()], [false, false, false, false]);
    const timings = await readFile(timingCache);

    process.env['SDXL_STAND_IN_NAME'] = 'Another GPU';
    control.reset();
    const told: string[] = [];
    const other = await live('devices', { timingCache, onDamage: (reason) => told.push(reason) });
    assert.deepEqual([...other.cached.values()], [false, false, false, false]);
    assert.match(told[0] ?? '', /made with device Stand-in GPU, this is Another GPU/u);
    assert.deepEqual(await readFile(timingCache), timings);

    delete process.env['SDXL_STAND_IN_NAME'];
    control.reset();
    assert.deepEqual([...(await live('devices', { timingCache })).cached.values()], [true, true, true, true]);
    // Built anew elsewhere, from its timings: nothing is timed, and the engine is the same.
    control.reset();
    await live('elsewhere', { timingCache });
    assert.equal(control.calls('cuEventElapsedTime') - 2, 0);
    assert.deepEqual(
      await tactics('elsewhere'),
      (await tactics('devices')).filter((text) => text.includes('Stand-in GPU')),
    );
  });

  async function tactics(cache: string): Promise<readonly string[]> {
    const engines = join(folder, cache, 'engines');
    return Promise.all((await readdir(engines)).sort().map((key) => readFile(join(engines, key, 'tactics.json'), 'utf8')));
  }

  test('damaged timings are told of, not used and left alone', async () => {
    const timingCache = join(folder, 'damaged.json');
    for (const text of ['', '{', '[]', 'null', '{"format":1}', '{"format":1,"identity":{},"entries":[]}']) {
      await writeFile(timingCache, text);
      control.reset();
      const told: string[] = [];
      await live('damaged-timings', { timingCache, onDamage: (reason) => told.push(reason) });
      assert.match(told[0] ?? '', /damaged\.json is not used: /u, text);
      assert.equal(await readFile(timingCache, 'utf8'), text);
      await rm(join(folder, 'damaged-timings'), { recursive: true });
    }
  });

  test('a cached engine or kernel that is damaged anywhere is built again, with a warning, and found after', async () => {
    await live('intact', { tacticLimit: 1 });
    const files = (await readdir(join(folder, 'intact'), { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
    const damages: readonly (readonly [string, (content: Buffer) => Buffer])[] = [
      ['cut off', (content) => content.subarray(0, content.length / 2)],
      ['empty', () => Buffer.alloc(0)],
      ...[0, 0.25, 0.5, 0.99].map(
        (at) => [`a bit at ${String(at)}`, (content: Buffer) => flip(content, Math.floor(content.length * at))] as const,
      ),
    ];
    const paths = files.map((entry) => join(entry.parentPath, entry.name)).sort();
    for (const [index, [what, damage]] of damages.entries()) {
      const cache = `damage-${String(index)}`;
      await cp(join(folder, 'intact'), join(folder, cache), { recursive: true });
      // Another file for each kind of damage, and the manifest of an engine for all.
      const chosen = paths.filter((path, at) => at % damages.length === index || (path.endsWith('manifest.json') && at % 2 === index % 2));
      for (const path of chosen) {
        const copy = path.replace(join(folder, 'intact'), join(folder, cache));
        await writeFile(copy, damage(await readFile(copy)));
      }
      control.reset();
      const told: string[] = [];
      await live(cache, { tacticLimit: 1, onDamage: (reason) => told.push(reason) });
      assert.ok(told.length > 0, `${what}: ${chosen.join()}`);
      control.reset();
      const again = await live(cache, { tacticLimit: 1, onDamage: (reason) => assert.fail(`${what}: ${reason}`) });
      assert.deepEqual([...again.cached.values()], [true, true, true, true], what);
      assert.equal(control.calls('nvrtcCompileProgram'), 0);
    }
  });
});

function flip(content: Buffer, at: number): Buffer {
  const damaged = Buffer.from(content);
  damaged[at] = (damaged[at] ?? 0) ^ 0x10;
  return damaged;
}
