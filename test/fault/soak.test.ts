/** Two hundred images of one job: memory and handles of every process stay what they were. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { fixture } from '../support/fixtures.js';
import { Sdxl, Workspace } from '../support/sdxl.js';

const images = 200;
/**
 * Of one process, from the second quarter to the last. Ranks start with a heap of 256 MiB, up to which V8 leaves garbage lie, a fifth of a
 * mebibyte per image; so that what grows is what is held, this one may hold no more than 64.
 */
const heap = '--max-old-space-size=64';
const growthMiB = 16;

interface Sample {
  readonly image: number;
  readonly rssMiB: number;
  readonly handles: number;
}

async function sample(pid: number, image: number): Promise<Sample | undefined> {
  try {
    const status = await readFile(`/proc/${pid}/status`, 'utf8');
    const handles = (await readdir(`/proc/${pid}/fd`)).length;
    return { image, rssMiB: Number(/VmRSS:\s+(\d+)/u.exec(status)?.[1]) / 1024, handles };
  } catch {
    return undefined; // It is gone.
  }
}

test('a job of 200 images on two ranks', { skip: process.platform === 'linux' ? false : 'reads /proc' }, async (t) => {
  await using workspace = await Workspace.open();
  const args = ['run', '--model', fixture('random-sdxl'), '--size', '64', '--prompt', 'flowers', '--num-inference-steps', '2', '-n', '2'];
  const run = new Sdxl([...args, '--num-images', String(images), '--output', 'out/x.png', '--threads', '1'], {
    cwd: workspace.path,
    env: { SDXL_CACHE_DIR: workspace.file('cache'), NODE_OPTIONS: heap },
  });
  await run.until(/ started .*rank=1 pid=/u);
  const samples = new Map<string, Sample[]>();
  const over = new AbortController();
  const finished = run.end(240_000).finally(() => {
    over.abort();
  });
  while (!over.signal.aborted) {
    const image = (await workspace.list('out').catch(() => [])).filter((name) => name.endsWith('.png')).length;
    for (const [name, pid] of [
      ['launcher', run.pid],
      ['rank 0', run.rank(0)],
      ['rank 1', run.rank(1)],
    ] as const) {
      const taken = await sample(pid, image);
      if (taken !== undefined) samples.set(name, [...(samples.get(name) ?? []), taken]);
    }
    await delay(100);
  }
  const { code, stderr } = await finished;
  assert.equal(code, 0, stderr.slice(-2000));
  assert.equal((await workspace.list('out')).filter((name) => name.endsWith('.png')).length, images);
  for (const [name, taken] of samples) {
    const within = (from: number, to: number): Sample[] => taken.filter(({ image }) => image >= from * images && image < to * images);
    const median = (list: readonly number[]): number => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
    const [early, late] = [within(0.25, 0.5), within(0.75, 1)];
    const [before, after] = [early, late].map((list) => median(list.map(({ rssMiB }) => rssMiB)));
    const [handlesBefore, handlesAfter] = [early, late].map((list) => median(list.map(({ handles }) => handles)));
    t.diagnostic(`${name}: ${before?.toFixed(0)} → ${after?.toFixed(0)} MiB, ${handlesBefore} → ${handlesAfter} handles`);
    assert.ok((after ?? Number.NaN) - (before ?? Number.NaN) < growthMiB, `${name}: ${before} → ${after} MiB`);
    assert.equal(handlesAfter, handlesBefore, name);
  }
});
