/** NVIDIA's libraries through FFI on a real device: every wrapper against a float64 reference. Skipped where there is no device. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  architectureName,
  ClearedWorkspaces,
  convolutionOutputSize,
  CubinCache,
  cubinKey,
  deserializeMatmulTactic,
  KernelArguments,
  Nccl,
  serializeMatmulTactic,
  Tuner,
  type AttentionProblem,
  type AttentionStrides,
  type ConvolutionProblem,
  type MatmulProblem,
} from '../../runtime/backends/cuda/libraries/index.js';
import { SdxlError } from '../../runtime/errors/index.js';
import { deviation, download, openGpu, Operand, poisoned, tolerance, type Gpu } from '../support/gpu.js';

const opened = await openGpu();
const skip = typeof opened === 'string' ? opened : false;
after(() => {
  if (typeof opened !== 'string') opened.close();
});

function gpu(): Gpu {
  assert.ok(typeof opened !== 'string');
  return opened;
}

const same = { top: 1, bottom: 1, left: 1, right: 1 };
const none = { top: 0, bottom: 0, left: 0, right: 0 };
const small: ConvolutionProblem = {
  batch: 2,
  height: 12,
  width: 20,
  inChannels: 16,
  outChannels: 24,
  kernel: 3,
  stride: 1,
  padding: same,
  dtype: 'f16',
  bias: true,
  residual: false,
};
const sdxl: ConvolutionProblem = { ...small, height: 128, width: 128, inChannels: 320, outChannels: 320 };

describe('convolution', { skip }, () => {
  const problems: readonly ConvolutionProblem[] = [
    small,
    { ...small, residual: true },
    { ...small, bias: false },
    { ...small, kernel: 1, padding: none },
    { ...small, kernel: 1, padding: none, residual: true },
    { ...small, stride: 2 },
    { ...small, stride: 2, padding: { top: 0, bottom: 1, left: 0, right: 1 } },
    // The halo rows of a band arrive from other ranks: no padding above and below.
    { ...small, height: 14, padding: { ...same, top: 0, bottom: 0 } },
    { ...small, height: 13, padding: { ...same, top: 0 }, residual: true },
    { ...small, dtype: 'bf16', residual: true },
    // The network's first and last layers.
    { ...small, inChannels: 4, outChannels: 320 },
    { ...small, inChannels: 320, outChannels: 4 },
    sdxl,
    { ...sdxl, residual: true },
    { ...sdxl, stride: 2 },
    { ...sdxl, height: 32, width: 32, inChannels: 2560, outChannels: 1280 },
    { ...sdxl, batch: 1, height: 256, width: 256, inChannels: 256, outChannels: 256, dtype: 'bf16' },
  ];
  for (const [index, problem] of problems.entries()) {
    test(`of ${describeProblem(problem)}`, async () => {
      await checkConvolution(problem, index, 1);
    });
  }

  test('by every plan gives the same within rounding', async () => {
    await checkConvolution({ ...sdxl, height: 64, width: 64, residual: true }, 99, 64);
  });

  test('adds to the output in place', async () => {
    const problem = { ...small, residual: true };
    const { cudnn, device, workspace, stream } = gpu();
    const { x, w, bias } = convolutionOperands(problem, 7);
    const [height, width] = convolutionOutputSize(problem);
    const count = problem.batch * height * width * problem.outChannels;
    const residual = Operand.random(gpu(), count, 'f16', 5);
    using convolution = cudnn.convolution(problem);
    const [plan] = await convolution.candidates(1);
    assert.ok(plan !== undefined);
    const y = device.allocate(count * 2);
    device.copy(y.pointer, residual.pointer, count * 2);
    convolution.run(plan, { x: x.pointer, w: w.pointer, bias: bias.pointer, residual: y.pointer, y: y.pointer }, workspace, stream);
    const found = download(gpu(), y.pointer, count, 'f16');
    const { relative, unwritten } = deviation(found, convolutionReference(problem, x, w, bias, residual));
    assert.equal(unwritten, 0);
    assert.ok(relative < tolerance.f16, String(relative));
  });

  test('by a plan that was stored is bit-equal', async () => {
    const { cudnn, workspace, stream } = gpu();
    const { x, w, bias } = convolutionOperands(small, 3);
    using convolution = cudnn.convolution(small);
    const [plan] = await convolution.candidates(1);
    assert.ok(plan !== undefined);
    const text = plan.serialize();
    const restored = convolution.deserialize(text);
    assert.ok(restored !== undefined);
    assert.equal(restored.label, plan.label);
    assert.equal(restored.workspaceBytes, plan.workspaceBytes);
    const count = small.batch * small.height * small.width * small.outChannels;
    const results = [plan, restored].map((each) => {
      const y = poisoned(gpu(), count);
      convolution.run(each, { x: x.pointer, w: w.pointer, bias: bias.pointer, y: y.pointer }, workspace, stream);
      return download(gpu(), y.pointer, count, 'f16');
    });
    assert.deepEqual(results[0], results[1]);
    assert.equal(convolution.deserialize('{}'), undefined);
    assert.equal(convolution.deserialize(text.replace(/cudnn/giu, 'other').slice(0, -40)), undefined);
    assert.equal(convolution.deserialize(JSON.stringify({ label: 'x', runtimeCompiled: false, json: '{"a":1}' })), undefined);
  });
});

function describeProblem({
  batch,
  height,
  width,
  inChannels,
  outChannels,
  kernel,
  stride,
  padding,
  dtype,
  bias,
  residual,
}: ConvolutionProblem): string {
  const { top, bottom, left, right } = padding;
  return `${dtype} ${batch}×${height}×${width}×${inChannels}→${outChannels} k${kernel} s${stride} p${top}${bottom}${left}${right}${bias ? ' bias' : ''}${residual ? ' residual' : ''}`;
}

function convolutionOperands(problem: ConvolutionProblem, seed: number): { x: Operand; w: Operand; bias: Operand; residual: Operand } {
  const { batch, height, width, inChannels, outChannels, kernel, dtype } = problem;
  const [outHeight, outWidth] = convolutionOutputSize(problem);
  const fanIn = kernel * kernel * inChannels;
  return {
    x: Operand.random(gpu(), batch * height * width * inChannels, dtype, seed),
    w: Operand.random(gpu(), outChannels * fanIn, dtype, seed + 1, 1 / Math.sqrt(fanIn)),
    bias: Operand.random(gpu(), outChannels, dtype, seed + 2),
    residual: Operand.random(gpu(), batch * outHeight * outWidth * outChannels, dtype, seed + 3),
  };
}

function convolutionReference(
  problem: ConvolutionProblem,
  x: Operand,
  w: Operand,
  bias: Operand,
  residual: Operand,
): (index: number) => number {
  const { height, width, inChannels, outChannels, kernel, stride, padding } = problem;
  const [outHeight, outWidth] = convolutionOutputSize(problem);
  return (index) => {
    const out = index % outChannels;
    const column = Math.floor(index / outChannels) % outWidth;
    const row = Math.floor(index / outChannels / outWidth) % outHeight;
    const image = Math.floor(index / outChannels / outWidth / outHeight);
    let sum = (problem.bias ? bias.at(out) : 0) + (problem.residual ? residual.at(index) : 0);
    for (let dy = 0; dy < kernel; dy++) {
      const y = row * stride + dy - padding.top;
      for (let dx = 0; dx < kernel; dx++) {
        const xAt = column * stride + dx - padding.left;
        if (y < 0 || y >= height || xAt < 0 || xAt >= width) continue;
        const input = ((image * height + y) * width + xAt) * inChannels;
        const weight = ((out * kernel + dy) * kernel + dx) * inChannels;
        for (let channel = 0; channel < inChannels; channel++) sum += x.at(input + channel) * w.at(weight + channel);
      }
    }
    return sum;
  };
}

async function checkConvolution(problem: ConvolutionProblem, seed: number, limit: number): Promise<void> {
  const { cudnn, workspace, stream } = gpu();
  const { x, w, bias, residual } = convolutionOperands(problem, seed * 10);
  const [height, width] = convolutionOutputSize(problem);
  const count = problem.batch * height * width * problem.outChannels;
  using convolution = cudnn.convolution(problem);
  const plans = await convolution.candidates(limit);
  const reference = convolutionReference(problem, x, w, bias, residual);
  const y = poisoned(gpu(), count);
  for (const plan of plans) {
    assert.ok(plan.workspaceBytes <= workspace.sizeBytes, plan.label);
    stream.fill(y.pointer, 0x7fff, count, 2);
    const operands = { x: x.pointer, w: w.pointer, bias: bias.pointer, residual: residual.pointer, y: y.pointer };
    convolution.run(plan, operands, workspace, stream);
    const { relative, unwritten } = deviation(download(gpu(), y.pointer, count, problem.dtype), reference, limit > 1 ? 200 : 2000);
    assert.equal(unwritten, 0, plan.label);
    assert.ok(relative < tolerance[problem.dtype], `${plan.label}: ${relative}`);
    plan.close();
  }
  for (const { memory } of [x, w, bias, residual]) memory.close();
  y.close();
}

describe('matrix product', { skip }, () => {
  const base: MatmulProblem = { m: 40, n: 24, k: 32, dtype: 'f16', bias: true, accumulate: false };
  const problems: readonly MatmulProblem[] = [
    base,
    { ...base, bias: false },
    { ...base, accumulate: true },
    { ...base, accumulate: true, bias: false, ldx: 48, ldw: 40, ldy: 72 },
    { ...base, dtype: 'bf16', accumulate: true },
    { ...base, bias: false, batch: { count: 3, strideX: 40 * 32, strideW: 0, strideY: 40 * 24 } },
    // Two images' time embeddings; keys and values of a prompt.
    { ...base, m: 2, n: 1280, k: 320 },
    { ...base, m: 154, n: 2560, k: 2048, bias: false },
    { ...base, m: 2048, n: 10_240, k: 1280 },
    { ...base, m: 8192, n: 640, k: 2560, accumulate: true },
  ];
  for (const [index, problem] of problems.entries()) {
    test(`of ${JSON.stringify(problem)}`, () => checkMatmul(problem, index, 1));
  }

  test('by every algorithm gives the same within rounding', () => {
    checkMatmul({ ...base, m: 2048, n: 1280, k: 1280, accumulate: true }, 50, 200);
  });

  test('by an algorithm that was stored is bit-equal', () => {
    const { cublasLt, workspace, stream } = gpu();
    const problem = { ...base, m: 256, n: 640, k: 640 };
    using matmul = cublasLt.matmul(problem);
    const { x, w, bias, y } = matmulOperands(problem, 80);
    const tactics = matmul.candidates(6);
    for (const tactic of tactics) {
      const restored = deserializeMatmulTactic(serializeMatmulTactic(tactic));
      assert.ok(restored !== undefined && matmul.accepts(restored));
      assert.equal(matmul.describe(restored), matmul.describe(tactic));
      const results = [tactic, restored].map((each) => {
        matmul.run(each, { x: x.pointer, w: w.pointer, bias: bias.pointer, y: y.pointer }, workspace, stream);
        return download(gpu(), y.pointer, problem.m * problem.n, 'f16');
      });
      assert.deepEqual(results[0], results[1]);
    }
  });
});

function matmulOperands(problem: MatmulProblem, seed: number): { x: Operand; w: Operand; bias: Operand; y: Operand } {
  const { m, n, k, dtype, ldx = k, ldw = k, ldy = n, batch } = problem;
  const extent = (rows: number, ld: number, stride = 0): number => rows * ld + ((batch?.count ?? 1) - 1) * stride;
  return {
    x: Operand.random(gpu(), extent(m, ldx, batch?.strideX), dtype, seed),
    w: Operand.random(gpu(), extent(n, ldw, batch?.strideW), dtype, seed + 1, 1 / Math.sqrt(k)),
    bias: Operand.random(gpu(), n, dtype, seed + 2),
    y: Operand.random(gpu(), extent(m, ldy, batch?.strideY), dtype, seed + 3),
  };
}

function checkMatmul(problem: MatmulProblem, seed: number, limit: number): void {
  const { cublasLt, device, workspace, stream } = gpu();
  const { m, n, k, dtype, ldx = k, ldw = k, ldy = n, batch = { count: 1, strideX: 0, strideW: 0, strideY: m * ldy } } = problem;
  const { x, w, bias, y } = matmulOperands(problem, seed * 10);
  const result = device.allocate(y.count * 2);
  using matmul = cublasLt.matmul(problem);
  const reference = (index: number): number => {
    const image = Math.floor(index / batch.strideY);
    const row = Math.floor((index % batch.strideY) / ldy);
    const column = (index % batch.strideY) % ldy;
    // Beyond the row's end nothing is written.
    if (column >= n) return y.at(index);
    let sum = (problem.bias ? bias.at(column) : 0) + (problem.accumulate ? y.at(index) : 0);
    for (let inner = 0; inner < k; inner++) {
      sum += x.at(image * batch.strideX + row * ldx + inner) * w.at(image * batch.strideW + column * ldw + inner);
    }
    return sum;
  };
  for (const tactic of matmul.candidates(limit)) {
    device.copy(result.pointer, y.pointer, y.count * 2);
    if (!problem.accumulate && ldy === n) stream.fill(result.pointer, 0x7fff, y.count, 2);
    matmul.run(tactic, { x: x.pointer, w: w.pointer, bias: bias.pointer, y: result.pointer }, workspace, stream);
    const { relative, unwritten } = deviation(download(gpu(), result.pointer, y.count, dtype), reference, limit > 1 ? 200 : 2000);
    assert.equal(unwritten, 0, matmul.describe(tactic));
    assert.ok(relative < tolerance[dtype], `${matmul.describe(tactic)}: ${relative}`);
  }
  for (const { memory } of [x, w, bias, y]) memory.close();
  result.close();
}

describe('attention', { skip }, () => {
  const packed = (tokens: number, heads: number, headDim: number, parts: number): AttentionStrides => ({
    batch: tokens * parts * heads * headDim,
    head: headDim,
    token: parts * heads * headDim,
  });
  const qkv = packed(4096, 10, 64, 3);
  const keyValue = packed(77, 10, 64, 2);
  const problems: readonly AttentionProblem[] = [
    { batch: 2, heads: 3, queryTokens: 64, keyTokens: 64, headDim: 64, dtype: 'f16' },
    { batch: 2, heads: 10, queryTokens: 4096, keyTokens: 4096, headDim: 64, dtype: 'f16', query: qkv, key: qkv, value: qkv },
    { batch: 2, heads: 10, queryTokens: 4096, keyTokens: 77, headDim: 64, dtype: 'f16', key: keyValue, value: keyValue },
    { batch: 2, heads: 20, queryTokens: 1024, keyTokens: 77, headDim: 64, dtype: 'f16' },
    { batch: 1, heads: 1, queryTokens: 1024, keyTokens: 1024, headDim: 512, dtype: 'f16' },
    { batch: 1, heads: 1, queryTokens: 1024, keyTokens: 1024, headDim: 512, dtype: 'bf16' },
    { batch: 2, heads: 4, queryTokens: 256, keyTokens: 256, headDim: 64, dtype: 'bf16', scale: 0.2 },
    // One band of an image against the keys of the whole.
    { batch: 1, heads: 20, queryTokens: 512, keyTokens: 1024, headDim: 64, dtype: 'f16' },
  ];
  for (const [index, problem] of problems.entries()) {
    test(`of ${JSON.stringify(problem)}`, async () => {
      const { cudnn, workspace, stream } = gpu();
      const operands = attentionOperands(problem, 500 + index * 10);
      const count = problem.batch * problem.queryTokens * problem.heads * problem.headDim;
      const o = poisoned(gpu(), count);
      using attention = cudnn.attention(problem);
      const reference = attentionReference(problem, operands);
      for (const plan of await attention.candidates()) {
        stream.fill(o.pointer, 0x7fff, count, 2);
        const { q, k, v } = operands;
        attention.run(plan, { q: q.pointer, k: k.pointer, v: v.pointer, o: o.pointer }, workspace, stream);
        const { relative, unwritten } = deviation(download(gpu(), o.pointer, count, problem.dtype), reference, 100);
        assert.equal(unwritten, 0, plan.label);
        // Weights are rounded to half precision before the second product.
        assert.ok(relative < 2 * tolerance[problem.dtype], `${plan.label}: ${relative}`);
        plan.close();
      }
      for (const { memory } of Object.values(operands)) memory.close();
      o.close();
    });
  }

  test('by a plan that was stored is bit-equal', async () => {
    const problem: AttentionProblem = { batch: 1, heads: 2, queryTokens: 128, keyTokens: 77, headDim: 64, dtype: 'f16' };
    const { cudnn, workspace, stream } = gpu();
    const { q, k, v } = attentionOperands(problem, 900);
    using attention = cudnn.attention(problem);
    const [plan] = await attention.candidates(1);
    assert.ok(plan !== undefined);
    const restored = attention.deserialize(plan.serialize());
    assert.ok(restored !== undefined);
    const count = problem.heads * problem.queryTokens * problem.headDim;
    const results = [plan, restored].map((each) => {
      const o = poisoned(gpu(), count);
      attention.run(each, { q: q.pointer, k: k.pointer, v: v.pointer, o: o.pointer }, workspace, stream);
      return download(gpu(), o.pointer, count, 'f16');
    });
    assert.deepEqual(results[0], results[1]);
  });
});

function strides(problem: AttentionProblem, part: 'query' | 'key' | 'value'): AttentionStrides {
  const { heads, headDim, queryTokens, keyTokens } = problem;
  const tokens = part === 'query' ? queryTokens : keyTokens;
  return problem[part] ?? { batch: tokens * heads * headDim, head: headDim, token: heads * headDim };
}

function attentionOperands(problem: AttentionProblem, seed: number): { q: Operand; k: Operand; v: Operand } {
  const make = (part: 'query' | 'key' | 'value', offset: number): Operand =>
    Operand.random(gpu(), problem.batch * strides(problem, part).batch, problem.dtype, seed + offset);
  return { q: make('query', 0), k: make('key', 1), v: make('value', 2) };
}

function attentionReference(problem: AttentionProblem, { q, k, v }: { q: Operand; k: Operand; v: Operand }): (index: number) => number {
  const { heads, headDim, queryTokens, keyTokens, scale = 1 / Math.sqrt(headDim) } = problem;
  const [query, key, value] = [strides(problem, 'query'), strides(problem, 'key'), strides(problem, 'value')];
  return (index) => {
    const channel = index % headDim;
    const head = Math.floor(index / headDim) % heads;
    const token = Math.floor(index / headDim / heads) % queryTokens;
    const image = Math.floor(index / headDim / heads / queryTokens);
    const queryAt = image * query.batch + head * query.head + token * query.token;
    const scores = Array.from({ length: keyTokens }, (_, position) => {
      const keyAt = image * key.batch + head * key.head + position * key.token;
      let sum = 0;
      for (let inner = 0; inner < headDim; inner++) sum += q.at(queryAt + inner) * k.at(keyAt + inner);
      return sum * scale;
    });
    const most = Math.max(...scores);
    let [weighted, total] = [0, 0];
    scores.forEach((score, position) => {
      const weight = Math.exp(score - most);
      total += weight;
      weighted += weight * v.at(image * value.batch + head * value.head + position * value.token + channel);
    });
    return weighted / total;
  };
}

const scaleSource = `
#include <cuda_fp16.h>
#include <cuda_bf16.h>
extern "C" __global__ void scale(const __half* x, float* y, float factor, int count, long long offset) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < count) y[i] = __half2float(x[i]) * factor + (float)offset + BASE;
}
extern "C" __global__ void shared_bytes(int* y) {
  extern __shared__ int words[];
  words[25000 + threadIdx.x] = threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = words[25000 + threadIdx.x];
}
__device__ int answer = 42;
extern "C" __global__ void read_answer(int* y) { *y = answer; }
`;

describe('kernels, graphs and memory', { skip }, () => {
  const compileScale = async (): Promise<Uint8Array> => {
    const { nvrtc, device } = gpu();
    const architecture = architectureName(device.properties.computeCapability);
    return nvrtc.compile({ name: 'scale.cu', source: scaleSource, architecture, defines: { BASE: '0.5f' } });
  };

  test('a compiled kernel runs with its arguments, and with changed ones', async () => {
    const { device, stream } = gpu();
    using module = device.loadModule(await compileScale());
    const kernel = module.kernel('scale');
    assert.ok(kernel.resources().registers > 0);
    assert.ok(kernel.blocksPerMultiprocessor(256) >= 1);
    const count = 1000;
    const x = Operand.random(gpu(), count, 'f16', 1);
    const y = device.allocate(count * 4);
    using parameters = new KernelArguments([{ pointer: x.pointer }, { pointer: y.pointer }, { f32: 2 }, { i32: count }, { i64: 3n }]);
    const result = new Float32Array(count);
    for (const factor of [2, -1.5]) {
      parameters.set(2, { f32: factor });
      kernel.launch([Math.ceil(count / 256)], [256], 0, stream, parameters);
      stream.synchronize();
      device.copyToHost(result, y.pointer);
      result.forEach((value, index) => {
        assert.ok(Math.abs(value - (x.at(index) * factor + 3.5)) < 1e-5);
      });
    }
    assert.throws(() => {
      parameters.set(2, { i32: 1 });
    }, /argument 2/u);
    const shared = module.kernel('shared_bytes');
    shared.setMaxDynamicSharedMemory(25_032 * 4);
    using sharedArguments = new KernelArguments([{ pointer: y.pointer }]);
    shared.launch([1], [32], 25_032 * 4, stream, sharedArguments);
    stream.synchronize();
    const words = new Int32Array(32);
    device.copyToHost(words, y.pointer);
    assert.deepEqual([...words], [...words.keys()]);
    const answer = module.global('answer');
    assert.equal(answer.sizeBytes, 4);
    device.copyToDevice(answer.pointer, Int32Array.of(7));
    module.kernel('read_answer').launchCooperative([1], [1], 0, stream, sharedArguments);
    stream.synchronize();
    device.copyToHost(words.subarray(0, 1), y.pointer);
    assert.equal(words[0], 7);
    y.close();
  });

  test('a kernel is compiled once, and again where its file is damaged', async () => {
    const { nvrtc, device } = gpu();
    const directory = await mkdtemp(join(tmpdir(), 'sdxl-kernels-'));
    const damage: string[] = [];
    const cache = new CubinCache(directory, (reason) => damage.push(reason));
    const architecture = architectureName(device.properties.computeCapability);
    const program = { name: 'empty.cu', source: 'extern "C" __global__ void f() {}', architecture };
    const made = await cache.compile(nvrtc, program);
    const file = join(directory, `${cubinKey(program, nvrtc.version)}.cubin`);
    assert.deepEqual(Uint8Array.from(await cache.compile(nvrtc, program)), made);
    await writeFile(file, 'damaged');
    const again = await cache.compile(nvrtc, program);
    device.loadModule(again).close();
    assert.equal(damage.length, 1);
    await rm(directory, { recursive: true });
  });

  test('a captured graph replays kernels, products and copies on two streams', async () => {
    const { device, stream, cublasLt, workspace } = gpu();
    using module = device.loadModule(await compileScale());
    const kernel = module.kernel('scale');
    using side = device.createStream();
    using forked = device.createEvent();
    using joined = device.createEvent();
    const [m, n, k] = [64, 64, 64];
    using matmul = cublasLt.matmul({ m, n, k, dtype: 'f16', bias: false, accumulate: false });
    const [tactic] = matmul.candidates(1);
    assert.ok(tactic !== undefined);
    const [x, w] = [Operand.random(gpu(), m * k, 'f16', 11), Operand.random(gpu(), n * k, 'f16', 12, 1 / 8)];
    using y = device.allocate(m * n * 2);
    using floats = device.allocate(m * n * 4);
    using pinned = device.allocatePinned(m * n * 4);
    using parameters = new KernelArguments([{ pointer: y.pointer }, { pointer: floats.pointer }, { f32: 1 }, { i32: m * n }, { i64: 0 }]);
    const enqueue = (): void => {
      stream.fill(y.pointer, 0x7fff, m * n, 2);
      matmul.run(tactic, { x: x.pointer, w: w.pointer, y: y.pointer }, workspace, stream);
      forked.record(stream);
      side.waitFor(forked);
      kernel.launch([(m * n) / 256], [256], 0, side, parameters);
      side.copyToHost(pinned.address, floats.pointer, pinned.sizeBytes);
      joined.record(side);
      stream.waitFor(joined);
    };
    enqueue();
    stream.synchronize();
    using graph = stream.capture(enqueue);
    const counts = graph.countNodes();
    assert.ok((counts['kernel'] ?? 0) >= 2 && (counts['memset'] ?? 0) >= 1 && (counts['memcpy'] ?? 0) === 1, JSON.stringify(counts));
    using executable = graph.instantiate();
    executable.upload(stream);
    using event = device.createEvent();
    for (let replay = 0; replay < 3; replay++) {
      pinned.bytes.fill(0);
      executable.launch(stream);
      event.record(stream);
      await event.done({ timeoutMs: 10_000 });
      const result = new Float32Array(pinned.bytes.buffer);
      const { relative } = deviation(result, (index) => {
        let sum = 0;
        for (let inner = 0; inner < k; inner++) sum += x.at(Math.floor(index / n) * k + inner) * w.at((index % n) * k + inner);
        return sum + 0.5;
      });
      assert.ok(relative < tolerance.f16, String(relative));
    }
  });

  test('memsets of attention’s workspaces are taken out of a graph, and it computes the same', async () => {
    const { device, stream, cudnn, workspace } = gpu();
    const problem: AttentionProblem = { batch: 2, heads: 4, queryTokens: 256, keyTokens: 256, headDim: 64, dtype: 'f16' };
    const { q, k, v } = attentionOperands(problem, 700);
    const count = 2 * 256 * 4 * 64;
    using attention = cudnn.attention(problem);
    const [plan] = await attention.candidates(1);
    assert.ok(plan !== undefined);
    const calls = 4;
    using workspaces = new ClearedWorkspaces(device, 1 << 16);
    const parts = Array.from({ length: calls }, () => workspaces.take(plan.workspaceBytes));
    const outputs = Array.from({ length: calls }, () => poisoned(gpu(), count));
    const enqueue = (): void => {
      workspaces.clear(stream);
      outputs.forEach((o, call) => {
        const part = parts[call] ?? workspace;
        // Each call attends to what the one before it computed.
        const query = call === 0 ? q.pointer : (outputs[call - 1]?.pointer ?? 0n);
        attention.run(plan, { q: query, k: k.pointer, v: v.pointer, o: o.pointer }, part, stream);
      });
    };
    enqueue();
    const expected = outputs.map((o) => download(gpu(), o.pointer, count, 'f16'));
    using graph = stream.capture(enqueue);
    const before = graph.countNodes();
    const removed = workspaces.removeMemsets(graph);
    const after = graph.countNodes();
    assert.equal(removed, (before['memset'] ?? 0) - 1);
    assert.deepEqual([after['memset'], after['kernel'], after.total], [1, before['kernel'], before.total - removed]);
    using executable = graph.instantiate();
    for (let replay = 0; replay < 3; replay++) {
      for (const o of outputs) stream.fill(o.pointer, 0x7fff, count, 2);
      executable.launch(stream);
      outputs.forEach((o, call) => {
        assert.deepEqual(download(gpu(), o.pointer, count, 'f16'), expected[call]);
      });
    }
    for (const o of outputs) o.close();
    // One part for two calls has to be cleared in between.
    using region = device.allocate(256);
    using twice = stream.capture(() => {
      for (let call = 0; call < 2; call++) stream.fill(region.pointer, 0, 16);
    });
    assert.equal(twice.removeMemsets(region), 0);
    assert.equal(twice.countNodes().total, 2);
  });

  test('products whose algorithm clears its workspace do without', () => {
    const { device, stream, cublasLt, workspace } = gpu();
    const problem: MatmulProblem = { m: 2048, n: 5120, k: 640, dtype: 'f16', bias: true, accumulate: false };
    const { x, w, bias } = matmulOperands(problem, 720);
    const count = problem.m * problem.n;
    using y = device.allocate(count * 2);
    using matmul = cublasLt.matmul(problem);
    using workspaces = new ClearedWorkspaces(device, 1 << 20);
    for (const tactic of matmul.candidates(40)) {
      workspaces.reset();
      const parts = [0, 1].map(() => workspaces.take(tactic.workspaceBytes) ?? workspace);
      const enqueue = (): void => {
        workspaces.clear(stream);
        for (const part of parts) matmul.run(tactic, { x: x.pointer, w: w.pointer, bias: bias.pointer, y: y.pointer }, part, stream);
      };
      enqueue();
      const expected = download(gpu(), y.pointer, count, 'f16');
      using graph = stream.capture(enqueue);
      const before = graph.countNodes();
      const removed = workspaces.removeMemsets(graph);
      assert.equal(graph.countNodes().total, before.total - removed);
      using executable = graph.instantiate();
      for (let replay = 0; replay < 2; replay++) {
        stream.fill(y.pointer, 0x7fff, count, 2);
        executable.launch(stream);
        assert.deepEqual(download(gpu(), y.pointer, count, 'f16'), expected, matmul.describe(tactic));
      }
    }
    for (const { memory } of [x, w, bias]) memory.close();
  });

  test('kernels that wait by themselves start early and still see what came before', async () => {
    const { device, nvrtc, stream } = gpu();
    if (device.properties.computeCapability[0] < 9) return;
    const source = `extern "C" __global__ void append(int* counts, int* log, int position) {
      asm volatile("griddepcontrol.wait;" ::: "memory");
      if (threadIdx.x == 0) log[position * gridDim.x + blockIdx.x] = counts[blockIdx.x ^ 1];
      if (threadIdx.x == 0) counts[blockIdx.x + gridDim.x] = 0;
    }
    extern "C" __global__ void count(int* counts) {
      asm volatile("griddepcontrol.wait;" ::: "memory");
      if (threadIdx.x == 0) counts[blockIdx.x] += 1;
    }`;
    const architecture = architectureName(device.properties.computeCapability);
    using module = device.loadModule(await nvrtc.compile({ name: 'chain.cu', source, architecture }));
    const [append, count] = [module.kernel('append'), module.kernel('count')];
    const [blocks, rounds] = [64, 50];
    using counts = device.allocate(blocks * 8);
    using log = device.allocate(blocks * rounds * 4);
    using counted = new KernelArguments([{ pointer: counts.pointer }]);
    const positions = Array.from(
      { length: rounds },
      (_, round) => new KernelArguments([{ pointer: counts.pointer }, { pointer: log.pointer }, { i32: round }]),
    );
    const enqueue = (): void => {
      stream.fill(counts.pointer, 0, counts.sizeBytes);
      for (const position of positions) {
        count.launchProgrammatic([blocks], [128], 0, stream, counted);
        append.launchProgrammatic([blocks], [128], 0, stream, position);
      }
    };
    enqueue();
    using graph = stream.capture(enqueue);
    using executable = graph.instantiate();
    executable.launch(stream);
    stream.synchronize();
    const found = new Int32Array(blocks * rounds);
    device.copyToHost(found, log.pointer);
    assert.deepEqual(
      found,
      Int32Array.from(found, (_, index) => Math.floor(index / blocks) + 1),
    );
    for (const position of positions) position.close();
  });

  test('a failed capture leaves the stream usable', () => {
    const { stream } = gpu();
    assert.throws(
      () =>
        stream.capture(() => {
          throw new Error('half way');
        }),
      /half way/u,
    );
    stream.synchronize();
  });

  test('the event loop runs on while the device works, and a wait ends by its signal and its deadline', async () => {
    const { device, stream } = gpu();
    using memory = device.allocate(1 << 30);
    using event = device.createEvent();
    const enqueue = (): void => {
      for (let round = 0; round < 200; round++) stream.fill(memory.pointer, round, memory.sizeBytes);
      event.record(stream);
    };
    let ticks = 0;
    const timer = setInterval(() => ticks++, 1);
    enqueue();
    await event.done();
    clearInterval(timer);
    assert.ok(ticks > 5, `${ticks} ticks`);
    enqueue();
    await assert.rejects(event.done({ signal: AbortSignal.timeout(2) }), { name: 'TimeoutError' });
    await assert.rejects(event.done({ timeoutMs: 1 }), { code: 'CUDA_FAILED' });
    stream.synchronize();
  });

  test('pinned memory is seen by both sides and gone when closed', () => {
    const { device, stream } = gpu();
    const pinned = device.allocatePinned(4096);
    pinned.bytes.forEach((_, index) => (pinned.bytes[index] = index % 251));
    using memory = device.allocate(4096);
    stream.copyToDevice(memory.pointer, pinned.address, 4096);
    stream.synchronize();
    const back = new Uint8Array(4096);
    device.copyToHost(back, memory.pointer);
    assert.deepEqual(back, Uint8Array.from(pinned.bytes));
    pinned.close();
    pinned.close();
    assert.throws(() => pinned.bytes, /after it was freed/u);
  });

  test('the tuner finds the faster of two, rules out what fails, and takes the sweep off', async () => {
    const { device, stream } = gpu();
    using memory = device.allocate(256 << 20);
    using tuner = new Tuner(device, stream);
    const fill = (bytes: number): ((on: typeof stream) => void) => {
      return (on) => on.fill(memory.pointer, 1, bytes);
    };
    const candidates = [
      { tactic: 'all', label: 'all', run: fill(256 << 20) },
      { tactic: 'half', label: 'half', run: fill(128 << 20) },
      {
        tactic: 'broken',
        label: 'broken',
        run: (): void => {
          throw new SdxlError('ENGINE_BUILD_FAILED', 'refused');
        },
      },
    ];
    for (const coldCache of [false, true]) {
      const tuned = await tuner.fastest(candidates, { coldCache });
      assert.equal(tuned.tactic, 'half');
      assert.deepEqual(tuned.refused, [{ label: 'broken', reason: 'refused' }]);
      assert.ok(tuned.microseconds > 5 && tuned.microseconds < 500, String(tuned.microseconds));
    }
    await assert.rejects(tuner.fastest(candidates.slice(2)), { code: 'ENGINE_BUILD_FAILED' });
  });

  test('properties of the device', () => {
    const { properties } = gpu().device;
    assert.ok(properties.name.startsWith('NVIDIA') && /^GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/u.test(properties.uuid));
    assert.ok(properties.multiprocessors > 0 && properties.computeCapability[0] >= 5 && properties.l2CacheBytes > 0);
    const { freeBytes, totalBytes } = gpu().device.memory();
    assert.ok(freeBytes > 0 && totalBytes === properties.memoryBytes);
  });
});

describe('collectives of one rank', { skip }, () => {
  test('run, also captured', async () => {
    const { search, device, stream } = gpu();
    const nccl = await Nccl.open(search);
    using communicator = nccl.join(nccl.uniqueId(), 0, 1);
    const x = Operand.random(gpu(), 4096, 'f16', 31);
    using y = device.allocate(8192);
    using graph = stream.capture(() => {
      communicator.allGather(x.pointer, y.pointer, 4096, 'f16', stream);
      communicator.allReduce(y.pointer, y.pointer, 4096, 'f16', 'sum', stream);
    });
    using executable = graph.instantiate();
    executable.launch(stream);
    const found = download(gpu(), y.pointer, 4096, 'f16');
    assert.equal(deviation(found, (index) => x.at(index)).relative, 0);
    nccl.group(() => {
      communicator.send(x.pointer, 16, 'u8', 0, stream);
      communicator.receive(y.pointer, 16, 'u8', 0, stream);
    });
    stream.synchronize();
    communicator.checkAsync();
  });
});

describe('failures', { skip }, () => {
  test('out of memory tells what was asked and what is free', () => {
    assert.throws(
      () => gpu().device.allocate(10e12, 'a test'),
      (error: unknown) =>
        error instanceof SdxlError &&
        error.code === 'CUDA_OUT_OF_MEMORY' &&
        error.exitCode === 3 &&
        error.fields['askedBytes'] === 10e12 &&
        Number(error.fields['freeBytes']) > 0 &&
        error.message.includes('a test'),
    );
    // The device goes on.
    gpu().device.allocate(1024).close();
  });

  test('kernel images that are damaged or made for another device', async () => {
    const { device, nvrtc } = gpu();
    assert.throws(() => device.loadModule(Buffer.from('no image')), { code: 'ENGINE_BUILD_FAILED' });
    const other = nvrtc.supportedArchitectures.find((each) => Math.floor(each / 10) !== device.properties.computeCapability[0]) ?? 0;
    const image = await nvrtc.compile({ name: 'empty.cu', source: 'extern "C" __global__ void f() {}', architecture: `sm_${other}` });
    assert.throws(() => device.loadModule(image), { code: 'ENGINE_BUILD_FAILED' });
    await assert.rejects(nvrtc.compile({ name: 'bad.cu', source: 'x', architecture: 'sm_90' }), /bad\.cu does not compile/u);
    await assert.rejects(nvrtc.compile({ name: 'far.cu', source: '', architecture: 'sm_999' }), { code: 'CUDA_UNAVAILABLE' });
  });

  test('a broken context is CUDA_FAILED and worth a new attempt', async () => {
    const { stdout, status } = await runChild('illegal-access');
    assert.equal(status, 75, stdout);
    assert.match(stdout, /"code":"CUDA_FAILED".*ILLEGAL_ADDRESS/u);
  });

  test('another process reads an allocation by its handle', async () => {
    const { device } = gpu();
    using memory = device.allocate(2 << 20);
    device.copyToDevice(memory.pointer, Uint32Array.of(1, 2, 3, 0xdeadbeef));
    const { stdout } = await runChild('ipc', Buffer.from(device.ipcHandle(memory.pointer)).toString('base64'), '4');
    assert.equal(stdout.trim(), JSON.stringify([1, 2, 3, 0xdeadbeef]));
  });
});

async function runChild(...parameters: string[]): Promise<{ stdout: string; status: number | null }> {
  const script = fileURLToPath(new URL('child.js', import.meta.url));
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [script, ...parameters], { timeout: 60_000 }, (_error, stdout, stderr) =>
      resolve({ stdout: stdout + stderr, status: child.exitCode }),
    );
  });
}
