/**
 * The VAE decoder on one GPU: `node dist/bench/gpu/decode.js --model DIR [--size 1024] [--runs 20] [--cache DIR] [--tactics 48] [--profile]`.
 * Prints the medians from latents to pixels on the host, of the device's part and of the image's check on the host, then every group of equal operations.
 */
import { parseArgs } from 'node:util';
import { CudaExecutor } from '../../runtime/backends/cuda/cuda-executor.js';
import { imageFromDecoded } from '../../runtime/image/index.js';
import { Model, planComponents } from '../../runtime/pipeline/index.js';
import { componentSizes } from '../../runtime/pipeline/component-sizes.js';
import { Generator } from '../../runtime/tensor/index.js';
import { openBackend } from './open-backend.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    size: { type: 'string', default: '1024' },
    runs: { type: 'string', default: '20' },
    cache: { type: 'string', default: '/tmp/sdxl-bench-cache' },
    tactics: { type: 'string', default: '48' },
    profile: { type: 'boolean', default: false },
  },
});
if (values.model === undefined) throw new Error('--model DIR is required');
const [size, runs] = [values.size, values.runs].map(Number) as [number, number];

await using model = await Model.open(values.model);
const mesh = { cfg: 1, patch: 1 };
const imageSize = { height: size, width: size, guided: true };
const backend = await openBackend(values);
const engine = await backend.prepare(planComponents(model, mesh, 0, imageSize).components.vaeDecoder);
console.log(`engine: ${engine.cached ? 'found' : 'built'} in ${engine.buildSeconds.toFixed(1)} s`);
const executor = await backend.load(engine);
if (!(executor instanceof CudaExecutor)) throw new Error('not a CUDA executor');

const factor = model.vaeScaleFactor;
const latents = new Generator(1n).randn([1, model.parts.unet.config.inChannels, size / factor, size / factor]);
const [network, host]: [number[], number[]] = [[], []];
for (let run = 0; run < runs + 3; run++) {
  const { outputs, timing } = await executor.run({ latents });
  const image = outputs['image'];
  if (image?.data instanceof Float32Array) {
    const began = performance.now();
    imageFromDecoded({ ...image, dtype: 'f32', data: image.data });
    // The first few compile the host's loops.
    if (run >= 3) host.push(performance.now() - began);
  }
  if (run >= 3) network.push(timing.totalSeconds * 1000);
}
console.log(
  `decode at ${String(size)}²: network and copy ${medianOf(network).toFixed(1)} ms, check on the host ${medianOf(host).toFixed(1)} ms (medians of ${String(runs)})`,
);
if (values.profile) {
  const groups = await executor.profile(componentSizes(model, mesh, imageSize).vaeDecoder);
  for (const { kind, label, operations, milliseconds } of [...groups].sort((a, b) => b.milliseconds - a.milliseconds)) {
    console.log(`${kind.padEnd(12)} ${String(operations.length).padStart(4)} ${milliseconds.toFixed(3).padStart(8)} ms  ${label}`);
  }
  console.log(`sum of groups ${groups.reduce((sum, { milliseconds }) => sum + milliseconds, 0).toFixed(1)} ms`);
}
await executor.close();
await backend.close();

function medianOf(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}
