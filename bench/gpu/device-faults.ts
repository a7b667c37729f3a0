/**
 * Faults on a real device, by the command line on the small model: `node dist/bench/gpu/device-faults.js [--model DIR] [--size 256]
 * [--only memory,killed,…]`. Prints a line for each case and ends with 1 where one is not as it should be:
 *
 * - `memory`: others leave less and less of the device free: a run either makes its image or ends with CUDA_OUT_OF_MEMORY, and all comes back.
 * - `killed`: a rank is killed while it denoises: 75, and its memory is free again.
 * - `damaged`: a cached engine and a kernel that are damaged are built again, and the image is the same.
 * - `identical`: two runs of one engine make the same bits.
 * - `timings`: an engine built from a timing cache is the same, is built sooner, and makes the same bits; timings of another device are left alone.
 *
 * That libraries are missing or fail is shown without a device (test/fault/cuda-calls.test.ts).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Device, Driver, LibrarySearch, libraryPathVariable, type DeviceMemory } from '../../runtime/backends/cuda/libraries/index.js';
import { packageFile } from '../../runtime/package-root.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string', default: packageFile('models/tiny-sdxl') },
    size: { type: 'string', default: '256' },
    only: { type: 'string' },
  },
});

/** What a run on the small model may take, its build included. */
const runMs = 240_000;
const mebibyte = 1 << 20;
/** Free in the device when a run starts; a context alone takes some 500. */
const leftFreeMebibytes = [64, 400, 600, 800, 1000, 1500];
/** Other programs come and go. */
const slackMebibytes = 64;

interface Ended {
  readonly code: number;
  readonly text: string;
  readonly seconds: number;
}

const folder = await mkdtemp(join(tmpdir(), 'sdxl-device-faults-'));
const cases: Readonly<Record<string, () => Promise<string>>> = { memory, killed, damaged, identical, timings };
const wanted = values.only?.split(',') ?? Object.keys(cases);
let failed = 0;
try {
  for (const name of wanted) {
    const check = cases[name];
    if (check === undefined) throw new Error(`--only ${name}: one of ${Object.keys(cases).join(', ')}`);
    try {
      console.log(`${name}: passed, ${await check()}`);
    } catch (error) {
      failed++;
      console.log(`${name}: FAILED, ${error instanceof Error ? error.message : String(error)}`);
    }
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
console.log(`${String(wanted.length - failed)} of ${String(wanted.length)} passed`);
process.exitCode = failed > 0 ? 1 : 0;

async function memory(): Promise<string> {
  await succeed(await sdxl('run', 'shared', 'before.png'));
  using device = await openDevice();
  const before = freeMebibytes(device);
  const endings: string[] = [];
  for (const left of leftFreeMebibytes) {
    const filler: DeviceMemory[] = [];
    try {
      const free = freeMebibytes(device);
      if (free > left) filler.push(device.allocate((free - left) * mebibyte, 'a filler'));
      const { code, text } = await sdxl('run', 'shared', 'full.png');
      if (code !== 0 && !(code === 3 && text.includes('error CUDA_OUT_OF_MEMORY')))
        throw new Error(`${String(left)} MiB free: ${ending(code, text)}`);
      endings.push(`${String(left)}: ${code === 0 ? 'an image' : 'CUDA_OUT_OF_MEMORY'}`);
    } finally {
      for (const each of filler) each.close();
    }
    await returned(device, before);
  }
  if (!endings.some((text) => text.endsWith('MEMORY'))) throw new Error(`no run was short of memory: ${endings.join(', ')}`);
  await succeed(await sdxl('run', 'shared', 'after.png'));
  return `MiB left free → ${endings.join(', ')}; all free again after each`;
}

async function killed(): Promise<string> {
  await succeed(await sdxl('run', 'shared', 'before.png'));
  using device = await openDevice();
  const before = freeMebibytes(device);
  const { code, text } = await sdxl('run', 'shared', 'many.png', ['--num-images', '200'], (rank, said) => {
    if (/^image 1\/200: step/mu.test(said)) process.kill(rank, 'SIGKILL');
  });
  if (code !== 75 || !text.includes('RANK_EXITED')) throw new Error(ending(code, text));
  const seconds = await returned(device, before);
  return `75, its memory free again after ${seconds.toFixed(1)} s`;
}

async function damaged(): Promise<string> {
  await succeed(await sdxl('run', 'damaged', 'whole.png'));
  const engines = await files('damaged', 'engines', 'tactics.json');
  const kernels = await files('damaged', 'kernels', '.cubin');
  for (const path of [engines[0], kernels[0]]) {
    if (path === undefined) throw new Error('nothing was cached');
    const content = await readFile(path);
    content[content.length >> 1] = (content[content.length >> 1] ?? 0) ^ 1;
    await writeFile(path, content);
  }
  const { code, text } = await sdxl('run', 'damaged', 'again.png');
  await succeed({ code, text });
  const warnings = text.match(/damaged and is built again/gu)?.length ?? 0;
  if (warnings !== 2) throw new Error(`${String(warnings)} warnings of 2:\n${text}`);
  await same('whole.png', 'again.png');
  return 'an engine and a kernel built again, the image bit for bit';
}

async function identical(): Promise<string> {
  for (const name of ['first.png', 'second.png']) await succeed(await sdxl('run', 'shared', name));
  await same('first.png', 'second.png');
  return 'two runs of one engine, bit for bit';
}

async function timings(): Promise<string> {
  const file = join(folder, 'timings.json');
  const shared = ['--timing-cache', file];
  const first = await succeed(await sdxl('build', 'timed', undefined, shared));
  const second = await succeed(await sdxl('build', 'copied', undefined, shared));
  const [made, copied] = await Promise.all(['timed', 'copied'].map(async (cache) => tacticsOf(cache)));
  if (JSON.stringify(made) !== JSON.stringify(copied)) throw new Error('engines from the same timings differ');
  for (const cache of ['timed', 'copied']) await succeed(await sdxl('run', cache, `${cache}.png`));
  await same('timed.png', 'copied.png');
  const foreign = (await readFile(file, 'utf8')).replace(/"device": "[^"]*"/u, '"device": "another"');
  await writeFile(file, foreign);
  const { text } = await succeed(await sdxl('build', 'foreign', undefined, shared));
  if (!text.includes('made with device another')) throw new Error(`timings of another device were not told of:\n${text}`);
  if ((await readFile(file, 'utf8')) !== foreign) throw new Error('timings of another device were changed');
  return `engines built in ${first.seconds.toFixed(1)} s, from timings in ${second.seconds.toFixed(1)} s, equal and bit for bit`;
}

/** Told of everything said so far, with the rank's process, as long as it goes on. */
type Listener = (rank: number, said: string) => void;

async function sdxl(
  command: 'run' | 'build',
  cache: string,
  output: string | undefined,
  more: readonly string[] = [],
  listen?: Listener,
): Promise<Ended> {
  const job = command === 'run' ? ['--prompt', 'flowers, rabbit', '--num-inference-steps', '8', '--no-resume'] : [];
  const image = output === undefined ? [] : ['--output', output];
  const args = [command, '--backend', 'Cuda', '--model', values.model, '--size', values.size, ...job, ...image, ...more];
  const started = performance.now();
  const child = spawn(process.execPath, [packageFile('dist/runtime/cli/main.js'), ...args], {
    cwd: folder,
    env: { ...process.env, SDXL_CACHE_DIR: join(folder, cache), SDXL_CUDA_TACTICS: '4', SDXL_LOG_LEVEL: 'debug' },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: runMs,
  });
  let text = '';
  let heard = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (part: string) => {
      text += part;
      const pid = Number(/ started .*rank=0 pid=(\d+)/u.exec(text)?.[1] ?? Number.NaN);
      if (listen === undefined || heard || Number.isNaN(pid)) return;
      if (/^image 1\/\d+: step/mu.test(text)) {
        heard = true;
        listen(pid, text);
      }
    });
  }
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  const seconds = (performance.now() - started) / 1000;
  if (code === null) throw new Error(`sdxl ${args.join(' ')} was ended by ${String(signal)} after ${seconds.toFixed(0)} s:\n${text}`);
  return { code, text, seconds };
}

async function succeed<T extends Pick<Ended, 'code' | 'text'>>(ended: T): Promise<T> {
  if (ended.code !== 0) throw new Error(ending(ended.code, ended.text));
  return ended;
}

function ending(code: number, text: string): string {
  const error = /^error .*$/mu.exec(text)?.[0] ?? text.slice(-400);
  return `ended with ${String(code)}: ${error}`;
}

async function same(a: string, b: string): Promise<void> {
  const [first, second] = await Promise.all([a, b].map(async (name) => readFile(join(folder, name))));
  if (first === undefined || second === undefined || !first.equals(second)) throw new Error(`${a} and ${b} differ`);
}

async function files(cache: string, within: string, ending: string): Promise<readonly string[]> {
  const entries = await readdir(join(folder, cache, within), { recursive: true });
  return entries.filter((name) => name.endsWith(ending)).map((name) => join(folder, cache, within, name));
}

async function tacticsOf(cache: string): Promise<readonly string[]> {
  return Promise.all((await files(cache, 'engines', 'tactics.json')).toSorted().map(async (path) => readFile(path, 'utf8')));
}

async function openDevice(): Promise<Device> {
  return Device.open(await Driver.open(new LibrarySearch({ libraryPath: process.env[libraryPathVariable] })));
}

function freeMebibytes(device: Device): number {
  return Math.floor(device.memory().freeBytes / mebibyte);
}

/** Seconds until as much is free as before. */
async function returned(device: Device, before: number): Promise<number> {
  const started = performance.now();
  for (;;) {
    const seconds = (performance.now() - started) / 1000;
    const free = freeMebibytes(device);
    if (free >= before - slackMebibytes) return seconds;
    if (seconds > 20) throw new Error(`${String(free)} MiB are free, before it were ${String(before)}`);
    await delay(100);
  }
}
