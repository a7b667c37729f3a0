/** `sdxl bench --compare`: what each mesh and each mode of patches costs in likeness to one rank, and gains in latency. Images really are written and read. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { imageCount } from '../../crds/index.js';
import { psnr } from '../image/index.js';
import { resolveBackend, type LocalJob } from '../launch/index.js';
import { patchModes } from '../parallel/index.js';
import type { PipelineEvent } from '../pipeline/index.js';
import { readReference } from '../verify/index.js';
import { summarizeLatencies } from './bench-statistics.js';
import type { Context } from './context.js';
import { follow, type RunOptions } from './follow.js';
import { jobFromOptions, type JobOptions } from './job-options.js';
import { table } from './table.js';

export interface ComparisonOptions extends RunOptions, Omit<JobOptions, 'ranks' | 'patchDegree'> {
  readonly ranks: readonly number[];
  readonly numWarmupRuns: number;
  readonly avgRuns: number;
  readonly ignoreRatio: number;
}

export interface Compared {
  readonly ranks: number;
  readonly mesh: string;
  readonly mode: string;
  readonly latencySeconds: number;
  readonly speedUp: number;
  /** Of the images' 8 bits against those of one rank: the worst and the mean. Infinity: equal. */
  readonly worstDecibels: number;
  readonly meanDecibels: number;
}

type ImageEvent = Extract<PipelineEvent, { type: 'image' }>;

interface Case {
  readonly ranks: number;
  readonly job: LocalJob;
}

/** One rank first, then each mesh of each number of ranks in each mode that it has. */
export async function compare(context: Context, options: ComparisonOptions): Promise<Compared[]> {
  const folder = await mkdtemp(join(tmpdir(), 'sdxl-compare-'));
  try {
    const results: Compared[] = [];
    let reference: readonly string[] | undefined;
    for (const [index, { ranks, job }] of cases(context, options, folder).entries()) {
      const { paths, seconds } = await make(context, job, options);
      reference ??= paths;
      const likeness = await Promise.all(paths.map((path, image) => likenessOf(path, reference?.[image] ?? path)));
      const latencySeconds = summarizeLatencies(seconds.slice(options.numWarmupRuns), options.ignoreRatio).trimmedMeanSeconds;
      const { cfgDegree, patchDegree, mode } = job.spec.parallelism;
      results.push({
        ranks,
        mesh: `cfg ${cfgDegree} x patch ${patchDegree}`,
        mode,
        latencySeconds,
        speedUp: index === 0 ? 1 : (results[0]?.latencySeconds ?? Number.NaN) / latencySeconds,
        worstDecibels: Math.min(...likeness),
        meanDecibels: likeness.reduce((sum, value) => sum + value, 0) / likeness.length,
      });
    }
    return results;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export function printComparison(results: readonly Compared[], images: number): string {
  const decibels = (value: number): string => (value === Infinity ? 'equal' : value.toFixed(1));
  const rows = results.map(({ ranks, mesh, mode, latencySeconds, speedUp, worstDecibels, meanDecibels }) => [
    String(ranks),
    mesh,
    mode,
    latencySeconds.toFixed(3),
    `${speedUp.toFixed(2)}x`,
    decibels(worstDecibels),
    decibels(meanDecibels),
  ]);
  const header = ['n', 'mesh', 'mode', 'latency (s)', 'speed-up', 'worst PSNR (dB)', 'mean PSNR (dB)'];
  return `${table(header, rows)}\n\nPSNR of ${images} images in 8 bits against those of one rank. No perceptual metric is shipped.\n`;
}

function cases(context: Context, options: ComparisonOptions, folder: string): Case[] {
  const { numWarmupRuns, avgRuns, warmupSteps, ...given } = options;
  const guided = given.guidanceScale === undefined || Number(given.guidanceScale) > 1;
  const jobFor = (ranks: number, cfgDegree: number, mode: string, index: number): Case => {
    const displaced = mode !== 'Synchronous' && warmupSteps !== undefined ? { warmupSteps } : {};
    const output = join(folder, String(index), 'image.png');
    const job = { ...given, ...displaced, ranks, cfgDegree, mode, output, numImages: numWarmupRuns + avgRuns };
    return { ranks, job: jobFromOptions(job, context.environment) };
  };
  const wanted = options.ranks.filter((ranks) => ranks > 1);
  const places = wanted.flatMap((ranks) => [1, ...(guided && ranks % 2 === 0 ? [2] : [])].map((cfgDegree) => ({ ranks, cfgDegree })));
  const offered = resolveBackend(jobFor(1, 1, 'Synchronous', 0).job.spec.backend) === 'Cuda' ? (['Synchronous'] as const) : patchModes;
  const all = places.flatMap(({ ranks, cfgDegree }) => {
    const modes = ranks / cfgDegree === 1 ? (['Synchronous'] as const) : options.mode === undefined ? offered : [options.mode];
    return modes.map((mode) => ({ ranks, cfgDegree, mode }));
  });
  return [jobFor(1, 1, 'Synchronous', 0), ...all.map(({ ranks, cfgDegree, mode }, index) => jobFor(ranks, cfgDegree, mode, index + 1))];
}

async function make(
  context: Context,
  job: LocalJob,
  options: RunOptions,
): Promise<{ readonly paths: readonly string[]; readonly seconds: readonly number[] }> {
  const images: ImageEvent[] = [];
  await follow(context, {
    task: { kind: 'run', resume: false },
    job,
    options,
    images: imageCount(job.spec),
    onMessage: (_rank, message) => {
      if (message.type === 'event' && message.event.type === 'image') images.push(message.event);
    },
  });
  images.sort((a, b) => a.image - b.image);
  return { paths: images.map(({ path }) => path), seconds: images.map(({ seconds }) => seconds) };
}

async function likenessOf(path: string, reference: string): Promise<number> {
  const [ours, theirs] = [(await readReference(path)).get('image'), (await readReference(reference)).get('image')];
  if (ours === undefined || theirs === undefined) throw new Error(`${path} and ${reference} hold no images`);
  return psnr(ours, theirs);
}
