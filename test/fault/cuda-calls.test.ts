/** Each call of NVIDIA's libraries in the life of a rank fails in turn, against a stand-in for them: what then is thrown, and what is left. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { cublasLtSignatures } from '../../runtime/backends/cuda/libraries/cublaslt-functions.js';
import { cudnnSignatures } from '../../runtime/backends/cuda/libraries/cudnn-functions.js';
import { driverSignatures } from '../../runtime/backends/cuda/libraries/driver-functions.js';
import { nvrtcSignatures } from '../../runtime/backends/cuda/libraries/nvrtc-functions.js';
import { EngineCache } from '../../runtime/engine/index.js';
import { toSdxlError, type ErrorCode, type SdxlError } from '../../runtime/errors/index.js';
import { Model } from '../../runtime/pipeline/index.js';
import { lifeRequest, liveOnDevice, type Life } from '../support/cuda-life.js';
import {
  CudaStandIn,
  standInLibraries,
  standInSkipReason,
  type Fault,
  type StandInControl,
  type StandInOptions,
} from '../support/cuda-stand-in/index.js';
import { fixture } from '../support/fixtures.js';

/** Far more than a life takes, and far less than a test may. */
const lifeDeadlineMs = 60_000;

/** What each library says where there is no memory, and the error it becomes. */
const exhausted: readonly (readonly [functions: readonly string[], status: number, code: ErrorCode])[] = [
  [Object.keys(driverSignatures), 2, 'CUDA_OUT_OF_MEMORY'],
  [[...Object.keys(nvrtcSignatures), 'nvrtcCompileProgram'], 1, 'MEMORY_INSUFFICIENT'],
  [Object.keys(cublasLtSignatures), 3, 'CUDA_OUT_OF_MEMORY'],
  [Object.keys(cudnnSignatures), 4004, 'CUDA_OUT_OF_MEMORY'],
];

/** Calls whose failure only rules a tactic out, or a cached one: the life goes on with another. */
const tolerated = new Set([
  ...['cuStreamSynchronize', 'cuStreamBeginCapture_v2', 'cuStreamEndCapture', 'cuEventRecord', 'cuEventSynchronize', 'cuEventElapsedTime'],
  ...['cuGraphInstantiateWithFlags', 'cuGraphLaunch', 'cuGraphExecDestroy', 'cuGraphDestroy', 'cuGraphGetNodes', 'cuGraphNodeGetType'],
  ...['cuLaunchKernelEx', 'cublasLtMatmulAlgoCheck', 'cublasLtMatmulAlgoConfigGetAttribute', 'cublasLtMatmul'],
  ...['cudnnSetStream', 'cudnnBackendExecute'],
]);

/** After these a device only answers with the same error. */
const sticky: readonly (readonly [name: string, status: number])[] = [
  ...['cuMemAlloc_v2', 'cuMemFree_v2', 'cuMemcpyDtoH_v2', 'cuEventRecord', 'cuEventQuery', 'cuGraphLaunch'].map(
    (name) => [name, 719] as const,
  ),
  ...['cuStreamSynchronize', 'cuLaunchKernel'].map((name) => [name, 700] as const),
  ['cublasLtMatmul', 13],
  ['cudnnBackendExecute', 5000],
];

describe('calls that fail', { skip: standInSkipReason }, () => {
  let standIn: CudaStandIn;
  let control: StandInControl;
  let model: Model;
  let folder: string;
  let lives = 0;
  const calls = new Map<string, number>();

  before(async () => {
    standIn = new CudaStandIn();
    control = standIn.control();
    model = await Model.open(fixture('random-sdxl'));
    folder = await mkdtemp(join(tmpdir(), 'sdxl-calls-'));
  });
  after(async () => {
    await model[Symbol.asyncDispose]();
    standIn[Symbol.dispose]();
    await rm(folder, { recursive: true });
  });

  const always = () => ({ model, tacticLimit: 2, requests: [lifeRequest] });

  /** From an empty cache, with timed tactics. Rejects where it has not ended in time. */
  async function live(cacheDirectory: string): Promise<Life> {
    const expired = new AbortController();
    const work = liveOnDevice({ ...always(), cacheDirectory, libraryPath: standIn.folder });
    const late = delay(lifeDeadlineMs, undefined, { signal: expired.signal }).then(() => assert.fail('it hangs'));
    late.catch(() => undefined); // Told where it is raced.
    try {
      return await Promise.race([work, late]);
    } finally {
      expired.abort();
    }
  }

  /** What the life with this fault threw; undefined where it went on. What it leaves is looked at here. */
  async function failure(fault: Fault): Promise<SdxlError | undefined> {
    control.reset();
    control.arm(fault);
    const cache = join(folder, String(lives++));
    const name = `${fault.function}, call ${String(fault.call)}`;
    const error = await live(cache).then(() => undefined, toSdxlError);
    assert.ok(control.calls(fault.function) >= fault.call, `${name} was not reached`);
    assert.equal(control.misuse, '', name);
    await assertWholeEngines(cache, name);
    // Of a device that fails nothing can be had back before the process ends.
    if (fault.what !== 'sticky') assertNothingHeld(fault, name);
    await rm(cache, { recursive: true, force: true });
    return error;
  }

  /** What was made in a context ends with it; what is of the host's alone ends with the process. */
  function assertNothingHeld(fault: Fault, name: string): void {
    const { program, descriptor, ...ofDevice } = control.held();
    assert.deepEqual(fault.function === 'cuDevicePrimaryCtxRelease_v2' ? {} : ofDevice, {}, name);
  }

  async function assertWholeEngines(cache: string, name: string): Promise<void> {
    const list = (sub: string): Promise<string[]> => readdir(join(cache, sub)).catch(() => []);
    assert.deepEqual(await list('staging'), [], name);
    for (const file of await list('kernels')) assert.match(file, /^\w+\.cubin$/u, name);
    for (const key of await list('engines')) {
      assert.ok((await new EngineCache(cache).find(key, (reason) => assert.fail(`${name}: ${reason}`))) !== undefined);
    }
  }

  test('none fails: everything is given back before the device is', async () => {
    control.reset();
    const { images, cached } = await live(join(folder, 'whole'));
    assert.deepEqual([...cached.values()], [false, false, false, false]);
    assert.ok(images[0]?.data.every(Number.isFinite));
    assert.deepEqual([control.misuse, control.abandoned(), control.held()], ['', 0, {}]);
    for (const [functions] of exhausted) for (const name of functions) calls.set(name, control.calls(name));
  });

  for (const [functions, status, code] of exhausted) {
    test(`the first of each, for want of memory (${functions[0] ?? ''} …): ${code}`, async () => {
      for (const name of functions) {
        if ((calls.get(name) ?? 0) === 0) continue;
        const error = await failure({ function: name, call: 1, what: 'fail', status });
        if (error === undefined) assert.ok(tolerated.has(name), `${name} failed and nobody noticed`);
        else {
          assert.equal(error.code, code, `${name}: ${error.message}`);
          assert.match(error.message, new RegExp(`${name.replace(/_v\d$/u, '')}.*; (?:lower|give)`, 'u'));
          assert.equal(error.exitCode, 3);
        }
      }
    });
  }

  test('allocations, from the first to the last: CUDA_OUT_OF_MEMORY with what was asked for and what is free', async () => {
    const count = calls.get('cuMemAlloc_v2') ?? 0;
    for (const part of [0.01, 0.1, 0.4, 0.8, 1]) {
      const error = await failure({ function: 'cuMemAlloc_v2', call: Math.ceil(count * part), what: 'fail', status: 2 });
      assert.equal(error?.code, 'CUDA_OUT_OF_MEMORY');
      assert.match(error.message, /could not allocate \d+ MiB for .*: \d+ MiB of 4096 MiB are free on Stand-in GPU; lower/u);
      assert.equal(typeof error.fields['askedBytes'], 'number');
    }
  });

  test('the last of some, after which the device only fails: CUDA_FAILED, retriable', async () => {
    for (const [name, status] of sticky) {
      const error = await failure({ function: name, call: calls.get(name) ?? 1, what: 'sticky', status });
      assert.equal(error?.code, 'CUDA_FAILED', `${name}: ${String(error)}`);
      assert.match(error.message, /start again/u);
      assert.equal(error.exitCode, 75);
    }
  });

  test('an error that closing repeats does not hide the first', async () => {
    const error = await failure({ function: 'cuStreamCreateWithPriority', call: 1, what: 'sticky', status: 719 });
    assert.match(error?.message ?? '', /^cuStreamCreateWithPriority/u);
  });

  test('NVRTC without its builtins: CUDA_UNAVAILABLE', async () => {
    const error = await failure({ function: 'nvrtcCompileProgram', call: 1, what: 'fail', status: 7 });
    assert.equal(error?.code, 'CUDA_UNAVAILABLE');
    assert.match(error.message, /SDXL_CUDA_LIBRARY_PATH/u);
  });

  for (const library of standInLibraries.filter((name) => name !== 'libnccl.so.2')) {
    test(`without ${library}: CUDA_UNAVAILABLE with where it was looked for`, async () => {
      const error = await withLibraries({ without: [library] });
      assert.match(error.message, new RegExp(`${library.replaceAll('.', '\\.')}.* can't be loaded: looked in .*sdxl-stand-in`, 'u'));
      assert.match(error.message, library === 'libcuda.so.1' ? /install the NVIDIA driver/u : /name its folder in SDXL_CUDA_LIBRARY_PATH/u);
    });
  }

  for (const lacking of ['cuGraphAddDependencies_v2', 'cudnnBackendFinalize', 'cublasLtMatmulAlgoCheck', 'nvrtcGetCUBIN']) {
    test(`libraries too old to have ${lacking}: CUDA_UNAVAILABLE`, async () => {
      const error = await withLibraries({ lacking });
      assert.match(error.message, new RegExp(`has no function ${lacking}: install a newer version`, 'u'));
    });
  }

  async function withLibraries(options: StandInOptions): Promise<SdxlError> {
    using other = new CudaStandIn(options);
    const life = liveOnDevice({ ...always(), cacheDirectory: join(folder, 'unused'), libraryPath: other.folder });
    const error = await life.then(() => assert.fail('it has run'), toSdxlError);
    assert.deepEqual([error.code, error.exitCode], ['CUDA_UNAVAILABLE', 3]);
    return error;
  }

  test('one failing release does not keep the others', async () => {
    for (const name of ['cuMemFree_v2', 'cuEventDestroy_v2', 'cudnnBackendDestroyDescriptor', 'cublasLtMatmulDescDestroy']) {
      await failure({ function: name, call: calls.get(name) ?? 1, what: 'fail', status: 1 });
      assert.ok(Object.values(control.held()).reduce((sum, count) => sum + count, 0) <= 1, `${name}: ${JSON.stringify(control.held())}`);
    }
  });
});
