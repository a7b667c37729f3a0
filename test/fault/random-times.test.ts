/**
 * Faults at random times of a run, from the start of its ranks to its last step. Whatever the moment: the run ends within its deadline, the
 * rank and what befell it are named, no image and no process is left, and the next run makes the image as if nothing had been.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { decode } from 'fast-png';
import { fixture } from '../support/fixtures.js';
import { Sdxl, sdxl, smallJob, Workspace } from '../support/sdxl.js';

const model = fixture('random-sdxl');
const attempts = 3;
let shared: Workspace;
let env: Record<string, string>;
let undisturbed: ArrayLike<number>;
let lengthMs = 0;

const job = (...more: string[]): string[] => smallJob(model, '-n', '2', '--num-inference-steps', '40', '--output', 'out/x.png', ...more);

before(async () => {
  shared = await Workspace.open();
  env = { SDXL_CACHE_DIR: shared.file('cache'), SDXL_GRACE_PERIOD_SECONDS: '4', SDXL_HEARTBEAT_TIMEOUT_SECONDS: '5' };
  await sdxl(['build', '--model', model, '--size', '128', '-n', '2'], { cwd: shared.path, env });
  const started = performance.now();
  const { code, stderr } = await sdxl(job(), { cwd: shared.path, env });
  lengthMs = performance.now() - started;
  assert.equal(code, 0, stderr);
  undisturbed = decode(await readFile(shared.file('out/x.png'))).data;
});
after(async () => {
  await shared[Symbol.asyncDispose]();
});

// A process that has not been heard of yet may take a minute to load its code, so a rank stopped that early is named after a minute.
const faults = [
  ['SIGKILL', /^error RANK_EXITED: rank (\d): the process was ended by SIGKILL/mu, 20_000],
  ['SIGSTOP', /^error RANK_HUNG: rank (\d): it has (been silent|made no progress)/mu, 85_000],
] as const;

for (const [signal, says, withinMs] of faults) {
  // A stopped rank is mostly waited for: all of them at once.
  describe(`a rank that gets ${signal}`, { concurrency: signal === 'SIGSTOP' ? attempts : 1 }, () => {
    for (let attempt = 0; attempt < attempts; attempt++) {
      const victim = attempt % 2;
      const share = Math.random();
      test(`rank ${victim}, ${(100 * share).toFixed(0)} % into the run`, async (t) => {
        await using workspace = await Workspace.open();
        const run = new Sdxl(job(), { cwd: workspace.path, env });
        await run.until(new RegExp(` started .*rank=${victim} pid=`, 'u'));
        await delay(share * lengthMs * 0.7);
        // A run that was quicker than the one measured is over: then its image is whole, as below.
        signalRank(run.rank(victim), signal);
        const { code, stderr } = await run.end(withinMs);
        const written = await workspace.list('out').catch(() => []);
        if (code === 0) {
          // It came after the last image: then that is whole.
          assert.deepEqual(written, ['x.json', 'x.png']);
          t.diagnostic('the run was over by then');
        } else {
          assert.equal(code, 75, stderr);
          assert.equal(says.exec(stderr)?.[1], String(victim), stderr);
          assert.deepEqual(
            written.filter((name) => !/^x\.(png|json)$/u.test(name)),
            [],
          );
          // After it was written and before its rank was done: whole as well.
          if (written.length > 0) assert.deepEqual(written, ['x.json', 'x.png']);
        }
        const again = await sdxl(job('--resume'), { cwd: workspace.path, env });
        assert.equal(again.code, 0, again.stderr);
        assert.deepEqual(decode(await readFile(workspace.file('out/x.png'))).data, undisturbed);
      });
    }
  });
}

function signalRank(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error;
  }
}
