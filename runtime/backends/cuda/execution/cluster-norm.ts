/**
 * Group normalisation in one pass over memory (kernels/group-norm-cluster.cu): how an image is cut so that a cluster of blocks holds some
 * whole groups of it in shared memory, and the launch. Images that do not fit take two passes (norm-launches.ts).
 */
import { KernelArguments } from '../libraries/index.js';
import type { OperationOf } from '../plan/operations.js';
import type { KernelSet } from './kernels.js';
import type { Addresses, KernelLaunch } from './launch.js';
import { geometry, rowLength, shiftArguments, sourceArguments, sourceShape } from './norm-launches.js';

/** The most threads of a block of kernels/group-norm-cluster.cu. */
const clusterThreads = 512;
const clusterKernels = { 1: 'groupNorm1', 2: 'groupNorm2', 4: 'groupNorm4', 8: 'groupNorm8' } as const;

/** What CUDA lets a multiprocessor hold, and keeps of its shared memory for itself, of every block. */
const residentThreads = 2048;
const reservedSharedBytes = 1024;
/** Memory moves in sectors of so many bytes. */
const sectorBytes = 32;
/** Of the model of time below, in bytes that a multiprocessor moves meanwhile: some 3 µs for a wave of blocks, and 1 µs for blocks that meet. */
const waveCostBytes = 35_000;
const clusterCostBytes = 10_000;

/** Of a norm in one pass. */
export interface ClusterPlan {
  /** Blocks that share a slice of an image's channels. */
  readonly cluster: keyof typeof clusterKernels;
  readonly sliceOctets: number;
  readonly blockPixels: number;
  readonly lanes: number;
  readonly sharedBytes: number;
}

export interface NormSize {
  readonly channels: number;
  readonly groups: number;
  readonly batch: number;
  readonly pixels: number;
}

/** What a device offers to blocks. */
export interface BlockLimits {
  readonly multiprocessors: number;
  readonly maxSharedMemoryPerBlockBytes: number;
}

/**
 * How a norm is cut so that each block holds its part in shared memory; undefined where it does not fit. Of all cuts the one with the
 * least time by a model: waves of blocks, each with a cost of its own and with what a multiprocessor moves at its share of the bandwidth.
 */
export function planCluster({ channels, groups, batch, pixels }: NormSize, limits: BlockLimits): ClusterPlan | undefined {
  const perGroup = channels / groups;
  const { multiprocessors, maxSharedMemoryPerBlockBytes: most } = limits;
  let best: { readonly plan: ClusterPlan; readonly cost: number } | undefined;
  for (let sliceOctets = 1; sliceOctets * 8 <= channels; sliceOctets++) {
    const slice = sliceOctets * 8;
    const [whole] = clusterThreadCounts(sliceOctets);
    if (channels % slice !== 0 || slice % perGroup !== 0 || whole === undefined) continue;
    for (const cluster of [1, 2, 4, 8] as const) {
      const blockPixels = Math.ceil(pixels / cluster);
      if (cluster > 1 && blockPixels * (cluster - 1) >= pixels) continue;
      const lanes = clusterThreadCounts(sliceOctets).findLast((count) => count === whole || count * 4 <= blockPixels) ?? whole;
      const sharedBytes = blockPixels * slice * 2 + lanes * slice * 8 + (slice / perGroup) * 16;
      if (sharedBytes > most) continue;
      const blocks = (channels / slice) * cluster * batch;
      const resident = Math.min(
        Math.floor(most / (sharedBytes + reservedSharedBytes)) || 1,
        Math.floor(residentThreads / (lanes * sliceOctets)) || 1,
      );
      const waves = Math.ceil(blocks / (multiprocessors * resident));
      const perWave = Math.min(resident, Math.ceil(blocks / multiprocessors)) * blockPixels * slice * 2;
      // A slice that is no whole number of sectors begins within one for every other pixel.
      const touchedBytes = Math.ceil((slice * 2) / sectorBytes + ((slice * 2) % sectorBytes === 0 ? 0 : 0.5)) * sectorBytes;
      const cost = waves * (waveCostBytes + perWave * (touchedBytes / (slice * 2))) + (cluster > 1 ? clusterCostBytes : 0);
      if (best === undefined || cost < best.cost) best = { plan: { cluster, sliceOctets, blockPixels, lanes, sharedBytes }, cost };
    }
  }
  return best?.plan;
}

/** Numbers of lanes that make whole warps, rising. */
function clusterThreadCounts(sliceOctets: number): readonly number[] {
  const unit = [1, 2, 4, 8, 16, 32].find((lanes) => (lanes * sliceOctets) % 32 === 0) ?? 32;
  return Array.from({ length: Math.floor(clusterThreads / (unit * sliceOctets)) }, (_, index) => (index + 1) * unit);
}

/** Both passes in one, where the device and the image allow; undefined where they don't. */
export function clusterLaunch(
  kernels: KernelSet,
  addresses: Addresses,
  operation: OperationOf<'groupNorm'>,
  limits: BlockLimits,
): KernelLaunch | undefined {
  const { source, groups, epsilon, weight, bias, silu, y } = operation;
  const size = geometry(sourceShape(source));
  const { channels, batch, height, width } = size;
  const pixels = height * width;
  const plan = planCluster({ channels, groups, batch, pixels }, limits);
  if (plan === undefined) return undefined;
  const kernel = kernels[clusterKernels[plan.cluster]];
  if (kernel === undefined) return undefined;
  const { cluster, sliceOctets, blockPixels, lanes, sharedBytes } = plan;
  const [yBatch = 0, , yRow = 0, yColumn = 0] = y.strides;
  const values = new KernelArguments([
    ...sourceArguments(source, addresses),
    ...shiftArguments(source, addresses),
    { i32: rowLength(size, [...source.parts, y]) },
    { i32: pixels },
    { i32: blockPixels },
    { i32: lanes },
    { i32: sliceOctets },
    { i32: channels / groups },
    { f32: epsilon },
    { pointer: addresses.buffer(weight) },
    { pointer: addresses.buffer(bias) },
    { i32: silu ? 1 : 0 },
    { pointer: addresses.of(y) },
    { i64: yBatch },
    { i64: yRow },
    { i64: yColumn },
  ]);
  kernel.setMaxDynamicSharedMemory(limits.maxSharedMemoryPerBlockBytes);
  return { kernel, grid: [cluster, channels / (sliceOctets * 8), batch], block: [lanes * sliceOctets], sharedBytes, values };
}
