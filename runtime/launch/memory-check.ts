/** Refuses what cannot fit before anything is loaded, with the numbers: better than being killed for memory minutes later. */
import type { SdxlJobSpec } from '../../crds/index.js';
import { SdxlError } from '../errors/index.js';
import { contextLength, estimateMemory, requestOf, type Model, type ModelComponents } from '../pipeline/index.js';
import { meshOf, patchTimingOf, toJobRequest } from './job-request.js';

export interface MemoryBudget {
  readonly bytes: number;
  /** What sets it, for people. */
  readonly source: string;
}

/** @throws SdxlError MEMORY_INSUFFICIENT with the need of one rank by component, the ranks, and the budget. */
export function checkMemory(model: Model, components: ModelComponents, spec: SdxlJobSpec, localRanks: number, budget: MemoryBudget): void {
  const guided = Number(spec.guidanceScale) > 1;
  const job = toJobRequest({ name: '', spec });
  const images = job.prompts.map((_, index) => requestOf(job, index * job.imagesPerPrompt));
  // The largest picture and the longest context, if of different images.
  const { height, width } = images.reduce((most, each) => (each.height * each.width > most.height * most.width ? each : most));
  const tokens = images.reduce((most, each) => Math.max(most, contextLength(model, each)), 0);
  const estimate = estimateMemory(model, components, meshOf(spec), { height, width, tokens, guided, patches: patchTimingOf(spec) });
  const needed = estimate.totalBytes * localRanks;
  if (needed <= budget.bytes) return;
  const { textEncoder, textEncoder2, unet, vaeDecoder } = estimate.weightBytes;
  const parts = Object.entries({
    UNet: unet,
    'text encoders': textEncoder + textEncoder2,
    'VAE decoder': vaeDecoder,
    activations: estimate.activationBytes,
    ...(estimate.keptBytes === 0 ? {} : { 'kept exchanges': estimate.keptBytes }),
    process: estimate.overheadBytes,
  }).map(([name, bytes]) => `${name} ${formatBytes(bytes)}`);
  const one = `${formatBytes(estimate.totalBytes)} (${parts.join(', ')})`;
  const need = localRanks === 1 ? `one rank needs ${one}` : `${String(localRanks)} ranks need ${formatBytes(needed)}, each ${one}`;
  throw new SdxlError(
    'MEMORY_INSUFFICIENT',
    `${need}, at most ${formatBytes(budget.bytes)} can be used here (${budget.source}): take fewer ranks per machine, a smaller image or a machine with more memory`,
    {
      fields: {
        neededBytes: needed,
        neededBytesPerRank: estimate.totalBytes,
        availableBytes: budget.bytes,
        ranks: localRanks,
        source: budget.source,
      },
    },
  );
}

export function formatBytes(bytes: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  const exponent = Math.min(units.length - 1, bytes < 1 ? 0 : Math.floor(Math.log2(bytes) / 10));
  return `${(bytes / 1024 ** exponent).toFixed(exponent === 0 ? 0 : 1)} ${units[exponent] ?? ''}`;
}
