/** `sdxl run` on a device that fails in every way, as processes, against a stand-in for NVIDIA's libraries: what users see and what is left. */
import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { after, afterEach, before, describe, test } from 'node:test';
import { CudaStandIn, standInSkipReason, type Fault } from '../support/cuda-stand-in/index.js';
import { fixture } from '../support/fixtures.js';
import { sdxl, smallJob, Workspace, type Finished } from '../support/sdxl.js';

const model = fixture('random-sdxl');

describe('runs on a device that fails', { skip: standInSkipReason }, () => {
  let standIn: CudaStandIn;
  let workspace: Workspace;
  let env: Readonly<Record<string, string>>;
  let whole: Buffer;

  before(async () => {
    standIn = new CudaStandIn();
    workspace = await Workspace.open();
    env = {
      ...standIn.environment(),
      SDXL_CACHE_DIR: workspace.file('cache'),
      SDXL_CUDA_TACTICS: '1',
      SDXL_GRACE_PERIOD_SECONDS: '3',
      SDXL_STAND_IN_REPORT: workspace.file('left'),
    };
    const first = await run([]);
    assert.equal(first.code, 0, first.stderr);
    whole = await readFile(workspace.file('x.png'));
  });
  after(async () => {
    standIn[Symbol.dispose]();
    await workspace[Symbol.asyncDispose]();
  });
  afterEach(async () => {
    for (const { misuse } of await reports()) assert.equal(misuse, '');
    await rm(workspace.file('left'), { force: true });
  });

  function run(args: readonly string[], more: Readonly<Record<string, string>> = {}): Promise<Finished> {
    return sdxl(smallJob(model, '--backend', 'Cuda', '--output', 'x.png', ...args), { cwd: workspace.path, env: { ...env, ...more } });
  }

  /** Its image must not be there, nor any part of it; and the next run finds the engines and makes the image. */
  async function failing(
    args: readonly string[],
    faults: readonly Fault[],
    more: Readonly<Record<string, string>> = {},
  ): Promise<Finished> {
    const finished = await run(['--output', 'failed.png', ...args], { ...standIn.environment(...faults), ...more });
    const left = await workspace.list();
    assert.deepEqual(
      left.filter((name) => name.includes('failed')),
      [],
    );
    return finished;
  }

  /** Of processes that have ended by themselves. */
  async function reports(): Promise<readonly { readonly device: number; readonly misuse: string; readonly memory: number }[]> {
    const text = await readFile(workspace.file('left'), 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { device: number; misuse: string; memory: number });
  }

  /** Allocations that each device's process had when it ended; undefined where it did not end by itself. */
  async function heldBy(devices: readonly number[]): Promise<readonly (number | undefined)[]> {
    const ended = await reports();
    return devices.map((wanted) => ended.find(({ device }) => device === wanted)?.memory);
  }

  test('no memory: 3, with what to change; the next run finds the engines and makes the image', async () => {
    const { code, stderr } = await failing([], [{ function: 'cuMemAlloc_v2', call: 400, what: 'fail', status: 2 }]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /error CUDA_OUT_OF_MEMORY: .*could not allocate \d+ MiB for .*; lower the image size/u);
    const next = await run([]);
    assert.equal(next.code, 0, next.stderr);
    assert.match(next.stderr, /engine unet: cached/u);
    assert.deepEqual(await readFile(workspace.file('x.png')), whole);
  });

  test('a smaller device: 3', async () => {
    const { code, stderr } = await failing([], [], { SDXL_STAND_IN_MEMORY: String(100 << 20) });
    assert.equal(code, 3, stderr);
    assert.match(stderr, /error CUDA_OUT_OF_MEMORY/u);
  });

  for (const [what, fault] of [
    ['while a step is replayed', { function: 'cuEventQuery', call: 800 }],
    ['while the image is copied', { function: 'cuMemcpyDtoHAsync_v2', call: 3 }],
  ] as const) {
    test(`an illegal access ${what}: 75`, async () => {
      const { code, stderr } = await failing([], [{ ...fault, what: 'sticky', status: 700 }]);
      assert.equal(code, 75, stderr);
      assert.match(stderr, /error CUDA_FAILED: .*start again/u);
    });
  }

  test('a call that never returns: 75 after the heartbeat, and nothing is left running', async () => {
    const { code, stderr } = await failing([], [{ function: 'cuGraphInstantiateWithFlags', call: 1, what: 'hang' }], {
      SDXL_HEARTBEAT_TIMEOUT_SECONDS: '5',
    });
    assert.equal(code, 75, stderr);
    assert.match(stderr, /error RANK_HUNG: rank 0/u);
  });

  test('a process that is killed within a call: 75', async () => {
    const { code, stderr } = await failing([], [{ function: 'cuGraphLaunch', call: 2, what: 'kill' }]);
    assert.equal(code, 75, stderr);
    assert.match(stderr, /error RANK_EXITED: rank 0.*SIGKILL/u);
  });

  test('of two ranks one finds no memory while the other’s device waits for it: 3, and both end by themselves', async () => {
    const waits: Fault = { function: 'cuGraphLaunch', call: 1, what: 'stall', device: 0 };
    const fails: Fault = { function: 'cuGraphLaunch', call: 2, what: 'fail', status: 2, device: 1 };
    const { code, stderr } = await failing(['-n', '2'], [waits, fails]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /error CUDA_OUT_OF_MEMORY: rank 1/u);
    assert.deepEqual(await heldBy([0, 1]), [0, 0]);
  });

  test('a rank finds no memory while its own device waits for a peer: what it failed of is told, not that it hangs', async () => {
    const waits: Fault = { function: 'cuGraphLaunch', call: 1, what: 'stall' };
    const fails: Fault = { function: 'cuGraphLaunch', call: 2, what: 'fail', status: 2, device: 1 };
    const { code, stderr } = await failing(['-n', '2'], [waits, fails]);
    assert.equal(code, 3, stderr);
    assert.match(stderr, /error CUDA_OUT_OF_MEMORY: rank 1/u);
    assert.deepEqual(await heldBy([1]), [0]);
  });

  test('a peer is killed while the device waits for it: the exchange is aborted, the rank ends by itself, 75', async () => {
    const waits: Fault = { function: 'cuGraphLaunch', call: 1, what: 'stall', device: 0 };
    const { code, stderr } = await failing(['-n', '2'], [waits, { function: 'cuGraphLaunch', call: 2, what: 'kill', device: 1 }]);
    assert.equal(code, 75, stderr);
    assert.match(stderr, /error (?:RANK_EXITED|PEER_LOST): rank/u);
    assert.deepEqual(await heldBy([0]), [0]);
  });

  test('a library that is missing is told by its name: 3', async () => {
    using other = new CudaStandIn({ without: ['libnccl.so.2'] });
    const { code, stderr } = await failing(['-n', '2'], [], other.environment());
    assert.equal(code, 3, stderr);
    assert.match(
      stderr,
      /error CUDA_UNAVAILABLE: .*libnccl\.so\.2 can't be loaded: looked in .*; install it, or name its folder in SDXL_CUDA_LIBRARY_PATH/u,
    );
  });
});
