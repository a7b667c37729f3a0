/** `sdxl bench --compare`: what each mesh and each mode of patches costs in likeness to one rank, and gains in latency. Images really are written and read. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { imageCount } from '../../crds/index.js';
import { psnr, ssim } from '../image/index.js';
import type { LocalJob } from '../launch/index.js';
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
  /** Of all replicas together. */
  readonly imagesPerSecond: number;
  /** Of the images' 8 bits against those of one rank: the worst and the mean. Infinity: equal. */
  readonly worstDecibels: number;
  readonly meanDecibels: number;
  /** Structural similarity, 1 for equal images. */
  readonly worstSsim: number;
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
      const { parallelism } = job.spec;
      // Each replica's first images are warm-up.
      const warmups = Math.min(options.numWarmupRuns * parallelism.dataDegree, seconds.length - 1);
      const latencySeconds = summarizeLatencies(seconds.slice(warmups), options.ignoreRatio).trimmedMeanSeconds;
      const decibels = likeness.map((each) => each.decibels);
      results.push({
        ranks,
        mesh: printDegrees(parallelism),
        mode: parallelism.mode,
        latencySeconds,
        imagesPerSecond: parallelism.dataDegree / latencySeconds,
        speedUp: index === 0 ? 1 : (results[0]?.latencySeconds ?? Number.NaN) / latencySeconds,
        worstDecibels: Math.min(...decibels),
        meanDecibels: decibels.reduce((sum, value) => sum + value, 0) / decibels.length,
        worstSsim: Math.min(...likeness.map(({ structure }) => structure)),
      });
    }
    return results;
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

export function printComparison(results: readonly Compared[], images: number): string {
  const decibels = (value: number): string => (value === Infinity ? 'equal' : value.toFixed(1));
  const rows = results.map(({ ranks, mesh, mode, latencySeconds, speedUp, imagesPerSecond, worstDecibels, meanDecibels, worstSsim }) => [
    String(ranks),
    mesh,
    mode,
    latencySeconds.toFixed(3),
    `${speedUp.toFixed(2)}x`,
    imagesPerSecond.toFixed(2),
    decibels(worstDecibels),
    decibels(meanDecibels),
    worstSsim.toFixed(4),
  ]);
  const header = ['n', 'mesh', 'mode', 'latency (s)', 'speed-up', 'images/s', 'worst PSNR (dB)', 'mean PSNR (dB)', 'worst SSIM'];
  return `${table(header, rows)}\n\nPSNR and SSIM of ${images} images in 8 bits against those of one rank.\n`;
}

export function printDegrees({ dataDegree, cfgDegree, patchDegree }: LocalJob['spec']['parallelism']): string {
  const data = dataDegree === 1 ? '' : `data ${String(dataDegree)} x `;
  return `${data}cfg ${String(cfgDegree)} x patch ${String(patchDegree)}`;
}

function cases(context: Context, options: ComparisonOptions, folder: string): Case[] {
  const { numWarmupRuns, avgRuns, warmupSteps, dataDegree: replicas = 1, ...given } = options;
  const guided = given.guidanceScale === undefined || Number(given.guidanceScale) > 1;
  const jobFor = (ranks: number, dataDegree: number, cfgDegree: number, mode: string, index: number): Case => {
    const displaced = mode !== 'Synchronous' && warmupSteps !== undefined ? { warmupSteps } : {};
    const output = join(folder, String(index), 'image.png');
    const job = { ...given, ...displaced, ranks, dataDegree, cfgDegree, mode, output, numImages: numWarmupRuns + avgRuns };
    return { ranks, job: jobFromOptions(job, context.environment) };
  };
  const wanted = options.ranks.filter((ranks) => ranks > 1);
  const places = wanted.flatMap((ranks) =>
    [1, ...(replicas > 1 && ranks % replicas === 0 ? [replicas] : [])].flatMap((dataDegree) => {
      const ofImage = ranks / dataDegree;
      return [1, ...(guided && ofImage % 2 === 0 ? [2] : [])].map((cfgDegree) => ({ ranks, dataDegree, cfgDegree }));
    }),
  );
  const all = places.flatMap(({ ranks, dataDegree, cfgDegree }) => {
    const modes =
      ranks / dataDegree / cfgDegree === 1 ? (['Synchronous'] as const) : options.mode === undefined ? patchModes : [options.mode];
    return modes.map((mode) => ({ ranks, dataDegree, cfgDegree, mode }));
  });
  const others = all.map(({ ranks, dataDegree, cfgDegree, mode }, index) => jobFor(ranks, dataDegree, cfgDegree, mode, index + 1));
  return [jobFor(1, 1, 1, 'Synchronous', 0), ...others];
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

async function likenessOf(path: string, reference: string): Promise<{ readonly decibels: number; readonly structure: number }> {
  const [ours, theirs] = [(await readReference(path)).get('image'), (await readReference(reference)).get('image')];
  if (ours === undefined || theirs === undefined) throw new Error(`${path} and ${reference} hold no images`);
  return { decibels: psnr(ours, theirs), structure: ssim(ours, theirs) };
}
