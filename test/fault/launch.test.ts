/**
 * Ranks that die, hang or are foreign, outputs that vanish, launchers that are killed. Each time every process ends within its deadline, the
 * exit code and the message name the cause and the rank, and neither a partial image nor a process is left.
 */
import assert from 'node:assert/strict';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { fixture } from '../support/fixtures.js';
import { freePort } from '../support/gang.js';
import { Sdxl, sdxl, smallJob, Workspace } from '../support/sdxl.js';

const model = fixture('random-sdxl');
/** Longer than any test: what ends it is the fault. */
const endless = (...more: string[]): string[] => smallJob(model, '--num-inference-steps', '1000', '--output', 'out/x.png', ...more);
const computing = /image 1\/1: encode/u;

let shared: Workspace;
let env: Record<string, string>;

before(async () => {
  shared = await Workspace.open();
  env = { SDXL_CACHE_DIR: shared.file('cache'), SDXL_GRACE_PERIOD_SECONDS: '4' };
  const built = await Promise.all(
    ['1', '2'].map((ranks) => sdxl(['build', '--model', model, '--size', '128', '-n', ranks], { cwd: shared.path, env })),
  );
  for (const { code, stderr } of built) assert.equal(code, 0, stderr);
});
after(async () => {
  await shared[Symbol.asyncDispose]();
});

/** Starts an endless run and waits until it denoises. */
async function start(workspace: Workspace, args: readonly string[], more: Record<string, string> = {}): Promise<Sdxl> {
  const run = new Sdxl(args, { cwd: workspace.path, env: { ...env, ...more } });
  await run.until(computing);
  return run;
}

async function assertNothingWritten(workspace: Workspace): Promise<void> {
  assert.deepEqual(await workspace.list('out'), []);
}

// Mostly waiting: two at a time.
const concurrency = 2;

describe('a rank', { concurrency }, () => {
  test('killed mid-step is named, with the signal', async () => {
    await using workspace = await Workspace.open();
    const log = workspace.file('termination-log');
    const run = await start(workspace, endless('-n', '2'), { TERMINATION_LOG: log });
    process.kill(run.rank(1), 'SIGKILL');
    const { code, stderr } = await run.end(20_000);
    assert.equal(code, 75);
    assert.match(stderr, /^error RANK_EXITED: rank 1: the process was ended by SIGKILL, not by its launcher/mu);
    await assertNothingWritten(workspace);
    const { message, ...told } = JSON.parse(await readFile(log, 'utf8')) as Record<string, unknown>;
    assert.deepEqual(told, { code: 'RANK_EXITED', exitCode: 75, retriable: true, rank: 1 });
    assert.match(String(message), /^rank 1: the process was ended by SIGKILL/u);
  });

  test('that is stopped is hung', async () => {
    await using workspace = await Workspace.open();
    const run = await start(workspace, endless('-n', '2'), { SDXL_HEARTBEAT_TIMEOUT_SECONDS: '4' });
    process.kill(run.rank(0), 'SIGSTOP');
    const { code, stderr } = await run.end(25_000);
    assert.equal(code, 75);
    assert.match(stderr, /^error RANK_HUNG: rank 0: it has been silent for \d+\.\d s/mu);
    await assertNothingWritten(workspace);
  });

  test('that makes no progress in a native call is hung', async () => {
    await using workspace = await Workspace.open();
    const job = {
      apiVersion: 'sdxl.io/v1alpha1',
      kind: 'SdxlJob',
      metadata: { name: 'stuck' },
      spec: { model: { path: model }, prompt: 'x', height: 2048, width: 2048, output: { path: 'out/x.png' }, progressDeadlineSeconds: 1 },
    };
    await writeFile(workspace.file('job.yaml'), JSON.stringify(job));
    const { code, stderr } = await new Sdxl(['run', '-f', 'job.yaml', '--threads', '1'], { cwd: workspace.path, env }).end(45_000);
    assert.equal(code, 75);
    assert.match(
      stderr,
      /^error RANK_HUNG: rank 0: it has made no progress while running \(image 1, \w+\) for \d\.\d s, and progressDeadlineSeconds is 1: .* raise progressDeadlineSeconds/mu,
    );
    await assertNothingWritten(workspace);
  });

  test('ended by somebody else is named', async () => {
    await using workspace = await Workspace.open();
    const run = await start(workspace, endless('-n', '2'));
    process.kill(run.rank(0), 'SIGTERM');
    const { code, stderr } = await run.end(20_000);
    assert.equal(code, 75);
    assert.match(stderr, /^error RANK_EXITED: rank 0: the process was ended by SIGTERM, not by its launcher/mu);
    await assertNothingWritten(workspace);
  });
});

describe('ranks that others start', { concurrency }, () => {
  const apart = async (workspace: Workspace, rank: number, port: number, token: string, job: string): Promise<Sdxl> => {
    await writeFile(workspace.file(`token-${String(rank)}`), token);
    const placed = { RANK: String(rank), WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(port) };
    return new Sdxl(['run', '-f', job, '--threads', '1'], {
      cwd: workspace.path,
      env: { ...env, ...placed, SDXL_JOB_TOKEN_FILE: workspace.file(`token-${String(rank)}`) },
    });
  };
  const jobFile = async (workspace: Workspace, name: string, more: object): Promise<string> => {
    const spec = {
      model: { path: model },
      prompt: 'x',
      height: 128,
      width: 128,
      numInferenceSteps: 1000,
      parallelism: { patchDegree: 2 },
      output: { path: 'out/x.png' },
      ...more,
    };
    await writeFile(
      workspace.file(name),
      JSON.stringify({ apiVersion: 'sdxl.io/v1alpha1', kind: 'SdxlJob', metadata: { name: 'apart' }, spec }),
    );
    return workspace.file(name);
  };

  test('a foreign rank is refused, and the gang names the one it misses', async () => {
    await using workspace = await Workspace.open();
    const port = await freePort();
    const job = await jobFile(workspace, 'job.yaml', { rendezvousTimeoutSeconds: 10 });
    const zero = await apart(workspace, 0, port, 'the-secret-of-this-job', job);
    const one = await apart(workspace, 1, port, 'the-secret-of-another-job', job);
    const [first, second] = await Promise.all([zero.end(40_000), one.end(40_000)]);
    assert.match(second.stderr, /^error UNAUTHENTICATED: rank 1: rank 0 at 127\.0\.0\.1:\d+ refused this rank/mu);
    assert.equal(second.code, 2);
    assert.match(first.stderr, /^error RENDEZVOUS_TIMEOUT: rank 0: .*rank 1/mu);
    assert.equal(
      [...first.stderr.matchAll(/ warn .*a caller from 127\.0\.0\.1 was refused.*SDXL_JOB_TOKEN_FILE/gu)].length,
      1,
      first.stderr,
    );
    assert.equal(first.code, 75);
    assert.doesNotMatch(first.stderr + second.stderr, /secret-of/u);
    await assertNothingWritten(workspace);
  });

  test('a rank with another job is named, and nobody retries', async () => {
    await using workspace = await Workspace.open();
    const port = await freePort();
    const zero = await apart(workspace, 0, port, 'the-secret-of-this-job', await jobFile(workspace, 'a.yaml', {}));
    const one = await apart(workspace, 1, port, 'the-secret-of-this-job', await jobFile(workspace, 'b.yaml', { seed: 1 }));
    for (const { code, stderr } of await Promise.all([zero.end(40_000), one.end(40_000)])) {
      assert.match(stderr, /^error RENDEZVOUS_MISMATCH: .*the ranks differ in job: rank 1 has/mu);
      assert.equal(code, 2);
    }
    await assertNothingWritten(workspace);
  });

  test('a rank lost with its launcher is named by the others', async () => {
    await using workspace = await Workspace.open();
    const port = await freePort();
    const job = await jobFile(workspace, 'job.yaml', {});
    const zero = await apart(workspace, 0, port, 'the-secret-of-this-job', job);
    const one = await apart(workspace, 1, port, 'the-secret-of-this-job', job);
    await Promise.all([zero.until(computing), one.until(computing)]);
    process.kill(one.rank(1), 'SIGKILL');
    const [first, second] = await Promise.all([zero.end(25_000), one.end(25_000)]);
    assert.match(first.stderr, /^error PEER_LOST: rank 0 reports: .*rank 1/mu);
    assert.match(second.stderr, /^error RANK_EXITED: rank 1: /mu);
    assert.deepEqual([first.code, second.code], [75, 75]);
    await assertNothingWritten(workspace);
  });
});

test('an output that vanishes while the ranks compute fails as such, on all of them', async () => {
  await using workspace = await Workspace.open();
  const run = new Sdxl(smallJob(model, '--num-inference-steps', '30', '-n', '2', '--output', 'out/x.png'), { cwd: workspace.path, env });
  await run.until(computing);
  await rename(workspace.file('out'), workspace.file('gone'));
  await writeFile(workspace.file('out'), 'no directory any more');
  const { code, stderr } = await run.end(30_000);
  assert.match(stderr, /^error OUTPUT_UNWRITABLE: rank 0: .*out\/x\.png can't be written/mu);
  assert.equal(code, 3);
  assert.deepEqual(await workspace.list('gone'), []);
});

describe('the launcher', { concurrency }, () => {
  for (const [signal, expected] of [
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const) {
    test(`told to end by ${signal} ends its ranks and exits with ${String(expected)}`, async () => {
      await using workspace = await Workspace.open();
      const run = await start(workspace, endless('-n', '2'));
      run.kill(signal);
      const { code, stderr } = await run.end(15_000);
      assert.equal(code, expected);
      assert.match(stderr, new RegExp(`^error CANCELLED: stopped by ${signal}$`, 'mu'));
      await assertNothingWritten(workspace);
    });
  }

  test('told twice does not wait', async () => {
    await using workspace = await Workspace.open();
    const run = await start(workspace, endless('-n', '2'), { SDXL_GRACE_PERIOD_SECONDS: '600' });
    // A stopped rank cannot obey.
    process.kill(run.rank(1), 'SIGSTOP');
    run.kill('SIGINT');
    run.kill('SIGTERM');
    assert.equal((await run.end(10_000)).code, 130);
    await assertNothingWritten(workspace);
  });

  test('killed leaves no orphans', async () => {
    await using workspace = await Workspace.open();
    const run = await start(workspace, endless('-n', '2'));
    run.kill('SIGKILL');
    await run.assertNoOrphans(10_000);
    assert.equal((await run.end(5_000)).code, 137);
    await assertNothingWritten(workspace);
  });
});
