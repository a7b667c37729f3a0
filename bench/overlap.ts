/**
 * Whether exchanges of displaced patches travel while ranks compute: every exchange is made to end 2 ms later than it would,
 * `npm run build && node dist/bench/overlap.js [--delay-ms 2] [--rounds 9] [--steps 25] [--warmup-steps 4] [--modes StaleGn,NoSync]`.
 *
 * Two ranks in one process, a thread each, make the same picture of the small model in each mode (Synchronous and CorrectedAsyncGn
 * always), with the delay and without it; rounds go through all of them in turn, so that a noisy machine troubles all alike. Figures
 * are medians of the denoising loop's time a step, its synchronous warm-up included. Exits with 1 where CorrectedAsyncGn is not 1.3
 * times as fast as Synchronous.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import type { Communicator, Exchange } from '../runtime/collectives/index.js';
import type { SdxlError } from '../runtime/errors/index.js';
import { packageFile } from '../runtime/package-root.js';
import { patchModes, type PatchMode } from '../runtime/parallel/index.js';
import type { ImageRequest } from '../runtime/pipeline/index.js';
import { Gang } from './gang.js';

const { values } = parseArgs({
  options: {
    'delay-ms': { type: 'string', default: '2' },
    rounds: { type: 'string', default: '9' },
    steps: { type: 'string', default: '25' },
    'warmup-steps': { type: 'string', default: '4' },
    modes: { type: 'string', default: patchModes.join() },
  },
});
const [delayMs, rounds, steps, warmupSteps] = [values['delay-ms'], values.rounds, values.steps, values['warmup-steps']].map(Number) as [
  number,
  number,
  number,
  number,
];
const gate: { readonly mode: PatchMode; readonly speedUp: number } = { mode: 'CorrectedAsyncGn', speedUp: 1.3 };
const modes = patchModes.filter((mode) => ['Synchronous', gate.mode, ...values.modes.split(',')].includes(mode));

/** A network that takes its time: what an exchange brings is there when it would be, and so much later. */
class LateCommunicator implements Communicator {
  readonly rank: number;
  readonly worldSize: number;
  readonly failed: AbortSignal;
  readonly #inner: Communicator;
  readonly #lateMs: () => number;

  constructor(inner: Communicator, lateMs: () => number) {
    this.rank = inner.rank;
    this.worldSize = inner.worldSize;
    this.failed = inner.failed;
    this.#inner = inner;
    this.#lateMs = lateMs;
  }

  async exchange(exchange: Exchange, signal?: AbortSignal): Promise<void> {
    await this.#inner.exchange(exchange, signal);
    if (this.#lateMs() > 0) await sleep(this.#lateMs());
  }

  barrier(signal?: AbortSignal): Promise<void> {
    return this.#inner.barrier(signal);
  }

  abort(error: SdxlError): Promise<void> {
    return this.#inner.abort(error);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

const request: ImageRequest = {
  prompt: 'flowers, rabbit',
  negativePrompt: undefined,
  height: 256,
  width: 256,
  numInferenceSteps: steps,
  guidanceScale: 5,
  seed: 233n,
};
let lateMs = 0;
const cacheDirectory = await mkdtemp(join(tmpdir(), 'sdxl-overlap-'));
const times = new Map<string, number[]>();
try {
  const wrap = (inner: Communicator): Communicator => new LateCommunicator(inner, () => lateMs);
  const model = packageFile('models/tiny-sdxl');
  await using gang = await Gang.open({ model, cacheDirectory, mesh: { cfg: 1, patch: 2 }, threads: 1, wrap });
  for (let round = -1; round < rounds; round++) {
    for (const late of [0, delayMs]) {
      for (const mode of modes) {
        lateMs = late;
        const { stages } = await gang.generate({ ...request, patches: { mode, warmupSteps } });
        // The first round warms caches and pools.
        if (round >= 0) times.set(key(mode, late), [...(times.get(key(mode, late)) ?? []), (stages.denoise / steps) * 1000]);
      }
    }
  }
} finally {
  await rm(cacheDirectory, { recursive: true, force: true });
}

const rows = modes.map((mode) => {
  const cell = (late: number): string => `${median(mode, late).toFixed(1)} | ${speedUp(mode, late).toFixed(2)} ×`;
  return `| \`${mode}\` | ${cell(0)} | ${cell(delayMs)} |`;
});
process.stdout.write(
  [
    `median of ${rounds} pictures of ${steps} steps on 2 ranks, the first ${warmupSteps + 1} steps synchronous`,
    `| mode | ms a step | speed-up | ms a step, exchanges ${delayMs} ms late | speed-up |`,
    '| --- | ---: | ---: | ---: | ---: |',
    ...rows,
    `${gate.mode} is ${speedUp(gate.mode, delayMs).toFixed(2)} times as fast as Synchronous; the least is ${gate.speedUp}`,
    '',
  ].join('\n'),
);
if (!(speedUp(gate.mode, delayMs) >= gate.speedUp)) process.exitCode = 1;

function key(mode: PatchMode, late: number): string {
  return `${mode} ${late}`;
}

function median(mode: PatchMode, late: number): number {
  const sorted = (times.get(key(mode, late)) ?? []).toSorted((a, b) => a - b);
  return ((sorted[Math.floor((sorted.length - 1) / 2)] ?? Number.NaN) + (sorted[Math.ceil((sorted.length - 1) / 2)] ?? Number.NaN)) / 2;
}

function speedUp(mode: PatchMode, late: number): number {
  return median('Synchronous', late) / median(mode, late);
}
