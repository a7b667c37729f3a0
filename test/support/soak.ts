/** Memory and handles of a run's processes while it makes many images. Reads /proc. */
import { readdir, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import assert from 'node:assert/strict';
import { Sdxl, type Workspace } from './sdxl.js';

export interface Sample {
  /** Images that were complete. */
  readonly images: number;
  readonly rssMiB: number;
  readonly handles: number;
}

export interface Soak {
  readonly workspace: Workspace;
  readonly model: string;
  readonly images: number;
  readonly env: Readonly<Record<string, string>>;
  readonly patienceMs: number;
}

const processes = ['launcher', 'rank 0', 'rank 1'] as const;

/** A job of so many images on two ranks; what its processes held all the time, by process. @throws where it fails */
export async function soak({ workspace, model, images, env, patienceMs }: Soak): Promise<ReadonlyMap<string, readonly Sample[]>> {
  const args = ['run', '--model', model, '--size', '64', '--prompt', 'flowers', '--num-inference-steps', '2', '-n', '2', '--threads', '1'];
  const run = new Sdxl([...args, '--num-images', String(images), '--output', 'out/x.png'], {
    cwd: workspace.path,
    env: { SDXL_CACHE_DIR: workspace.file('cache'), ...env },
  });
  await run.until(/ started .*rank=1 pid=/u);
  const samples = new Map<string, Sample[]>(processes.map((name) => [name, []]));
  const over = new AbortController();
  const finished = run.end(patienceMs).finally(() => {
    over.abort();
  });
  const pictures = async (): Promise<number> =>
    (await workspace.list('out').catch((): string[] => [])).filter((name) => name.endsWith('.png')).length;
  while (!over.signal.aborted) {
    const complete = await pictures();
    for (const [name, pid] of [
      ['launcher', run.pid],
      ['rank 0', run.rank(0)],
      ['rank 1', run.rank(1)],
    ] as const) {
      const taken = await sample(pid, complete);
      if (taken !== undefined) samples.get(name)?.push(taken);
    }
    await delay(100);
  }
  const { code, stderr } = await finished;
  assert.equal(code, 0, stderr.slice(-2000));
  assert.equal(await pictures(), images);
  return samples;
}

async function sample(pid: number, images: number): Promise<Sample | undefined> {
  try {
    const status = await readFile(`/proc/${String(pid)}/status`, 'utf8');
    const handles = (await readdir(`/proc/${String(pid)}/fd`)).length;
    return { images, rssMiB: Number(/VmRSS:\s+(\d+)/u.exec(status)?.[1]) / 1024, handles };
  } catch {
    return undefined; // It is gone.
  }
}

/** Of the samples taken while `from` to `to` images were complete. */
export function medians(samples: readonly Sample[], from: number, to: number): { readonly rssMiB: number; readonly handles: number } {
  const within = samples.filter(({ images }) => images >= from && images < to);
  const median = (values: readonly number[]): number => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
  return { rssMiB: median(within.map(({ rssMiB }) => rssMiB)), handles: median(within.map(({ handles }) => handles)) };
}
