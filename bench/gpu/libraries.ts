/**
 * Times of the library kernels that SDXL's UNet is made of, tuned and by the heuristic's first choice, on one device.
 *
 *     npx tsc && node dist/bench/gpu/libraries.js
 *
 * Each figure is the median of graphs of 20 launches; operands rotate between buffers larger than the device's cache together, so
 * that weights come from memory as they do in a model.
 */
import {
  architectureName,
  convolutionOutputSize,
  CublasLt,
  Cudnn,
  Device,
  Driver,
  KernelArguments,
  LibrarySearch,
  libraryPathVariable,
  Nvrtc,
  Tuner,
  type AttentionProblem,
  type Candidate,
  type ConvolutionProblem,
  type DevicePointer,
  type MatmulProblem,
} from '../../runtime/backends/cuda/libraries/index.js';

const search = new LibrarySearch({ libraryPath: process.env[libraryPathVariable], home: process.env['HOME'] });
const driver = await Driver.open(search);
const device = await Device.open(driver);
const nvrtc = await Nvrtc.open(search, driver.cudaVersion[0]);
const cublasLt = await CublasLt.open(search, driver.cudaVersion[0]);
const cudnn = await Cudnn.open(search);
const stream = device.createStream();
const tuner = new Tuner(device, stream);
const workspace = device.allocate(64 << 20);
/** Operands are slices of this, filled with random numbers; results of {@link results}. */
const operands = device.allocate(1 << 30);
const results = device.allocate(512 << 20);
fillRandom();
console.log(`${device.properties.name}, cuDNN ${cudnn.version}, cuBLASLt ${cublasLt.version}`);

const convolution: ConvolutionProblem = {
  batch: 2,
  height: 128,
  width: 128,
  inChannels: 320,
  outChannels: 320,
  kernel: 3,
  stride: 1,
  padding: { top: 1, bottom: 1, left: 1, right: 1 },
  dtype: 'f16',
  bias: true,
  residual: false,
};
for (const problem of [
  convolution,
  { ...convolution, residual: true },
  { ...convolution, height: 64, width: 64, inChannels: 640, outChannels: 640 },
  { ...convolution, height: 32, width: 32, inChannels: 1280, outChannels: 1280 },
  { ...convolution, height: 32, width: 32, inChannels: 2560, outChannels: 1280 },
  { ...convolution, inChannels: 960 },
])
  await timeConvolution(problem);
const matmul: MatmulProblem = { m: 2048, n: 1280, k: 1280, dtype: 'f16', bias: true, accumulate: false };
for (const problem of [
  { ...matmul, accumulate: true },
  { ...matmul, n: 3840, bias: false },
  { ...matmul, n: 10_240 },
  { ...matmul, k: 5120, accumulate: true },
  { ...matmul, m: 8192, n: 640, k: 640, accumulate: true },
  { ...matmul, m: 8192, n: 1920, k: 640, bias: false },
  { ...matmul, m: 8192, n: 5120, k: 640 },
  { ...matmul, m: 8192, n: 640, k: 2560, accumulate: true },
])
  await timeMatmul(problem);
const attention: AttentionProblem = { batch: 2, heads: 10, queryTokens: 4096, keyTokens: 4096, headDim: 64, dtype: 'f16' };
for (const problem of [
  attention,
  { ...attention, heads: 20, queryTokens: 1024, keyTokens: 1024 },
  { ...attention, keyTokens: 77 },
  { ...attention, heads: 20, queryTokens: 1024, keyTokens: 77 },
  { ...attention, queryTokens: 2048 },
  { ...attention, batch: 1, heads: 1, headDim: 512 },
])
  await timeAttention(problem);

await timeNodes();

/** What a node costs: chains of kernels that do nothing, launched plainly and programmatically, and with a memset between. */
async function timeNodes(): Promise<void> {
  const source = 'extern "C" __global__ void nothing(int* x) { asm volatile("griddepcontrol.wait;"); }';
  const architecture = architectureName(device.properties.computeCapability);
  const kernel = device.loadModule(await nvrtc.compile({ name: 'nothing.cu', source, architecture })).kernel('nothing');
  const values = new KernelArguments([{ pointer: results.pointer }]);
  const kinds = {
    plain: () => kernel.launch([132], [128], 0, stream, values),
    programmatic: () => kernel.launchProgrammatic([132], [128], 0, stream, values),
    'plain and memset': () => {
      kernel.launch([132], [128], 0, stream, values);
      stream.fill(results.pointer, 0, 256);
    },
  };
  for (const [name, run] of Object.entries(kinds)) console.log(`node, ${name}: ${tuner.time(run, { launches: 500 }).toFixed(2)} µs`);
}

/** Slices that follow each other through the buffer, a new set for every launch. */
function rotating(launch: number, elements: readonly number[]): readonly DevicePointer[] {
  const sizes = elements.map((count) => Math.ceil((count * 2) / 256) * 256);
  const total = sizes.reduce((sum, size) => sum + size, 0);
  let offset = (launch % Math.max(1, Math.min(20, Math.floor(operands.sizeBytes / total)))) * total;
  return sizes.map((size) => {
    const pointer = operands.pointer + BigInt(offset);
    offset += size;
    return pointer;
  });
}

async function timeConvolution(problem: ConvolutionProblem): Promise<void> {
  const { batch, height, width, inChannels, outChannels, kernel } = problem;
  const [outHeight, outWidth] = convolutionOutputSize(problem);
  const outputs = batch * outHeight * outWidth * outChannels;
  const taps = kernel * kernel * inChannels;
  using operation = cudnn.convolution(problem);
  const plans = await operation.candidates();
  const candidates = plans.map((plan) => ({
    tactic: plan,
    label: plan.label,
    run: (on: typeof stream, launch: number): void => {
      const [x = 0n, w = 0n, bias = 0n, residual = 0n] = rotating(launch, [
        batch * height * width * inChannels,
        outChannels * taps,
        outChannels,
        outputs,
      ]);
      operation.run(plan, { x, w, bias, residual, y: results.pointer }, workspace, on);
    },
  }));
  await report(operation.name, candidates, 2 * outputs * taps);
}

async function timeMatmul(problem: MatmulProblem): Promise<void> {
  const { m, n, k } = problem;
  using operation = cublasLt.matmul(problem);
  const candidates = operation.candidates(160).map((tactic) => ({
    tactic,
    label: operation.describe(tactic),
    run: (on: typeof stream, launch: number): void => {
      const [x = 0n, w = 0n, bias = 0n] = rotating(launch, [m * k, n * k, n]);
      operation.run(tactic, { x, w, bias, y: results.pointer }, workspace, on);
    },
  }));
  await report(operation.name, candidates, 2 * m * n * k);
}

async function timeAttention(problem: AttentionProblem): Promise<void> {
  const { batch, heads, queryTokens, keyTokens, headDim } = problem;
  using operation = cudnn.attention(problem);
  const plans = await operation.candidates();
  const width = batch * heads * headDim;
  const candidates = plans.map((plan) => ({
    tactic: plan,
    label: `${plan.label}, workspace ${plan.workspaceBytes}`,
    run: (on: typeof stream, launch: number): void => {
      const [q = 0n, k = 0n, v = 0n] = rotating(launch, [width * queryTokens, width * keyTokens, width * keyTokens]);
      operation.run(plan, { q, k, v, o: results.pointer }, workspace, on);
    },
  }));
  await report(operation.name, candidates, 4 * width * queryTokens * keyTokens);
}

async function report<T>(name: string, candidates: readonly Candidate<T>[], flops: number): Promise<void> {
  const began = performance.now();
  const [first] = candidates;
  if (first === undefined) return;
  const untuned = tuner.time(first.run);
  const { microseconds, label, tactic } = await tuner.fastest(candidates);
  const fastest = candidates.find((candidate) => candidate.tactic === tactic) ?? first;
  using graph = stream.capture(() => fastest.run(stream, 0));
  const seconds = (performance.now() - began) / 1000;
  console.log(
    `${name}: ${microseconds.toFixed(1)} µs (${(flops / microseconds / 1e6).toFixed(0)} TFLOP/s), first choice ${untuned.toFixed(1)} µs, ` +
      `${candidates.length} candidates in ${seconds.toFixed(1)} s: ${label}; nodes ${JSON.stringify(graph.countNodes())}`,
  );
}

/** Halves between −1 and 1: zeros would run faster than real data. */
function fillRandom(): void {
  const block = new Uint16Array(1 << 20);
  let state = 1;
  block.forEach((_, index) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    block[index] = ((state >>> 16) & 0x8000) | (0x2c00 + ((state >>> 8) % 0x1000));
  });
  for (let offset = 0; offset < operands.sizeBytes; offset += block.byteLength)
    device.copyToDevice(operands.pointer + BigInt(offset), block);
}
