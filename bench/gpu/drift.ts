/**
 * Whether images take longer the longer a process runs: `node dist/bench/gpu/drift.js --model DIR [--size 1024] [--steps 50] [--images 25]
 * [--backend Cuda] [--cache DIR] [--tactics 48] [--limit 2]`.
 *
 * Makes images in sequence after one that warms up and prints the latency of each, the medians of the first and the last five, and the
 * line of least squares through all with its 95 % interval. Ends with 1 where the last five are more than `--limit` per cent slower than
 * the first five and the slope is certainly above zero: a card that settles at its power limit drifts by less.
 */
import { parseArgs } from 'node:util';
import { Model, Pipeline, planComponents, type ImageRequest } from '../../runtime/pipeline/index.js';
import { openBackend } from './open-backend.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    size: { type: 'string', default: '1024' },
    steps: { type: 'string', default: '50' },
    images: { type: 'string', default: '25' },
    backend: { type: 'string', default: 'Cuda' },
    cache: { type: 'string', default: '/tmp/sdxl-bench-cache' },
    tactics: { type: 'string', default: '48' },
    limit: { type: 'string', default: '2' },
  },
});
const { model: directory } = values;
if (directory === undefined) throw new Error('--model DIR is required');
const [size, steps, images, limit] = [values.size, values.steps, values.images, values.limit].map(Number) as [
  number,
  number,
  number,
  number,
];
if (!(images >= 10)) throw new Error(`--images ${values.images}: at least 10, for two medians of five`);

await using model = await Model.open(directory);
const mesh = { cfg: 1, patch: 1 };
const { components } = planComponents(model, mesh, 0, { height: size, width: size, guided: true });
const backend = await openBackend(values);
const pipeline = await Pipeline.load({ model, components, backend, mesh, rank: 0, observer: () => undefined });
const request: ImageRequest = {
  prompt: 'flowers, rabbit',
  negativePrompt: undefined,
  height: size,
  width: size,
  numInferenceSteps: steps,
  guidanceScale: 5,
  seed: 0n,
};
const seconds: number[] = [];
for (let image = 0; image <= images; image++) {
  const began = performance.now();
  const { stages } = await pipeline.generate({ ...request, seed: BigInt(image) }, { image });
  const taken = (performance.now() - began) / 1000;
  // The first captures the graphs.
  if (image > 0) seconds.push(taken);
  const parts = Object.entries(stages).map(([stage, each]) => `${stage} ${(1000 * each).toFixed(1)} ms`);
  console.log(`${image === 0 ? 'warm-up' : `image ${String(image)}`}: ${taken.toFixed(4)} s (${parts.join(', ')})`);
}
await pipeline.close();
await backend.close();

const [first, last] = [medianOf(seconds.slice(0, 5)), medianOf(seconds.slice(-5))];
const { slope, error } = leastSquares(seconds);
const change = 100 * (last / first - 1);
const isCertain = slope - 1.96 * error > 0;
const drifts = change > limit && isCertain;
console.log(`\nfirst five ${first.toFixed(4)} s, last five ${last.toFixed(4)} s: ${signed(change)} %`);
console.log(
  `all ${String(images)}: median ${medianOf(seconds).toFixed(4)} s, least ${Math.min(...seconds).toFixed(4)}, most ${Math.max(...seconds).toFixed(4)}`,
);
console.log(
  `slope ${signed(1e3 * slope)} ± ${(1.96e3 * error).toFixed(3)} ms an image (95 %): ${isCertain ? 'rising' : 'not certainly rising'}; ` +
    `${drifts ? 'FAILED' : 'passed'} at a limit of ${String(limit)} %`,
);
process.exitCode = drifts ? 1 : 0;

/** Of the line through (0, y₀), (1, y₁) …, with the standard error of its slope. */
function leastSquares(y: readonly number[]): { readonly slope: number; readonly error: number } {
  const n = y.length;
  const [meanX, meanY] = [(n - 1) / 2, y.reduce((sum, value) => sum + value, 0) / n];
  const spread = y.reduce((sum, _, x) => sum + (x - meanX) ** 2, 0);
  const slope = y.reduce((sum, value, x) => sum + (x - meanX) * (value - meanY), 0) / spread;
  const residual = y.reduce((sum, value, x) => sum + (value - meanY - slope * (x - meanX)) ** 2, 0);
  return { slope, error: Math.sqrt(residual / (n - 2) / spread) };
}

function medianOf(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(3)}`;
}
