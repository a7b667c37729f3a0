/** Jobs of the runtime and its small model that something is done to after their first image. */
import assert from 'node:assert/strict';
import { watch } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { V1Pod } from '@kubernetes/client-node';
import { decode } from 'fast-png';
import type { JobStatus } from '../../operator/api/index.js';
import { waitFor } from './cluster/index.js';
import type { Fields, SdxlJobs } from './sdxl-jobs.js';

/** Of every job here. */
export const imageCount = 3;
/** Long enough that a fault after the first image comes well before the last. */
const spec = {
  height: 256,
  width: 256,
  numInferenceSteps: 12,
  numImages: imageCount,
  seed: 2,
  output: { path: 'output.png' },
  failurePolicy: { backoffSeconds: 0 },
};

/** Two ranks in as many pods, on nodes of a pool. */
export function ranksIn(podCount: 1 | 2, pool: string, pods: Fields = {}): Fields {
  return { parallelism: { patchDegree: 2, ranksPerPod: 2 / podCount }, pods: { nodeSelector: { pool }, ...pods } };
}

export function counted({ attempt, restarts, disruptions }: JobStatus): object {
  return { attempt, restarts, disruptions };
}

export class FaultedJobs {
  readonly #jobs: SdxlJobs;
  readonly #context: () => string;

  constructor(jobs: SdxlJobs, context: () => string) {
    this.#jobs = jobs;
    this.#context = context;
  }

  /** @returns the folder of this machine its images go to */
  async start(name: string, more: Fields): Promise<string> {
    return await this.#jobs.create(name, { ...spec, ...more });
  }

  /** Resolves with the first image's identity as soon as it is there: by then the gang denoises the second. */
  async firstImage(folder: string): Promise<bigint> {
    return await waitFor('first image', async () => (await stat(join(folder, 'output-0.png'), { bigint: true })).ino, {
      timeoutMs: 240_000,
      intervalMs: 20,
      context: this.#context,
    });
  }

  /** Waits for the job's end: every image is there and whole, and the first is the file it was. */
  async completes(name: string, folder: string, kept?: bigint): Promise<JobStatus> {
    const status = await this.#jobs.completed(name);
    const expected = Array.from({ length: imageCount }, (_, index) => [
      `output-${String(index)}.json`,
      `output-${String(index)}.png`,
    ]).flat();
    assert.deepEqual((await readdir(folder)).sort(), expected);
    for (const file of expected.filter((each) => each.endsWith('.png'))) {
      const { width, height } = decode(await readFile(join(folder, file)), { checkCrc: true });
      assert.deepEqual([width, height], [256, 256]);
    }
    if (kept !== undefined) assert.equal((await stat(join(folder, 'output-0.png'), { bigint: true })).ino, kept, 'written twice');
    return status;
  }

  /** Sends a signal to one rank of a pod, both counted from 0. */
  async kill(name: string, attempt: number, index: number, rank: number, signal: NodeJS.Signals, ranksPerPod = 2): Promise<V1Pod> {
    const pod = await this.#jobs.pod(name, attempt, index, 'start', ({ status }) => status?.phase === 'Running');
    const { ranks } = await this.#jobs.processes(pod, ranksPerPod);
    process.kill(ranks[rank] ?? 0, signal);
    return pod;
  }
}

/** Counts how often each image of a folder is put there, from now on. */
export class WrittenImages implements Disposable {
  readonly #counts = new Map<string, number>();
  readonly #watcher: ReturnType<typeof watch>;

  constructor(folder: string) {
    // Images are renamed into their place, and never out of it.
    this.#watcher = watch(folder, (event, file) => {
      if (event === 'rename' && file?.endsWith('.png') === true) this.#counts.set(file, (this.#counts.get(file) ?? 0) + 1);
    });
  }

  get counts(): Readonly<Record<string, number>> {
    return Object.fromEntries([...this.#counts].sort());
  }

  [Symbol.dispose](): void {
    this.#watcher.close();
  }
}
