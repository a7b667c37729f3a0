/** This program's own kernels, compiled for one element type and loaded on one device. */
import { readFile } from 'node:fs/promises';
import { packageFile } from '../../../package-root.js';
import { architectureName, type CubinCache, type Device, type Kernel, type KernelModule, type Nvrtc } from '../libraries/index.js';

/** The 16-bit type a component computes in. */
export type HalfType = 'f16' | 'bf16';

const folder = 'runtime/backends/cuda/kernels';
const header = 'element.cuh';

/** Source file → its kernels. */
const sources = {
  'group-norm.cu': ['groupStatistics', 'groupApply', 'joinMoments', 'boundaryRows'],
  'tokens.cu': [
    'layerNorm1',
    'layerNorm2',
    'layerNorm3',
    'layerNorm4',
    'layerNorm5',
    'layerNorm8',
    'geglu',
    'softmax',
    'causalAttention',
    'embedding',
    'selectToken',
    'sinusoid',
  ],
  'movement.cu': ['pointwise', 'upsample', 'importValues', 'exportValues', 'convertKernel', 'convertVector'],
  'denoise.cu': ['scaleInput', 'selectStep', 'linearStep', 'advance'],
} as const;
export type KernelName = (typeof sources)[keyof typeof sources][number];

/** With clusters of blocks: compute capability 9 and newer. */
const clusterSources = { 'group-norm-cluster.cu': ['groupNorm1', 'groupNorm2', 'groupNorm4', 'groupNorm8'] } as const;
/** With instructions that compute capability 9 alone has. */
const hopperSources = { 'gated-product.cu': ['gatedProduct1', 'gatedProduct2'] } as const;
type SomewhereSources = typeof clusterSources & typeof hopperSources;
/** Of kernels that not every device runs. */
export type SomewhereKernelName = SomewhereSources[keyof SomewhereSources][number];

export type KernelSet = Readonly<Record<KernelName, Kernel>> & Readonly<Partial<Record<SomewhereKernelName, Kernel>>>;

/** The text of every source, for cache keys. */
export async function kernelSources(): Promise<string> {
  const texts = await Promise.all(
    [header, ...[sources, clusterSources, hopperSources].flatMap((each) => Object.keys(each))].map((name) =>
      readFile(packageFile(`${folder}/${name}`), 'utf8'),
    ),
  );
  return texts.join('\n');
}

export interface LoadedKernels {
  readonly kernels: KernelSet;
  readonly modules: readonly KernelModule[];
}

/** From the cubin cache, or compiled. @throws SdxlError ENGINE_BUILD_FAILED, CUDA_UNAVAILABLE, ENGINE_CACHE_UNWRITABLE */
export async function loadKernels(
  device: Device,
  nvrtc: Nvrtc,
  cache: CubinCache,
  half: HalfType,
  signal: AbortSignal | undefined,
): Promise<LoadedKernels> {
  const headers = { [header]: await readFile(packageFile(`${folder}/${header}`), 'utf8') };
  const architecture = architectureName(device.properties.computeCapability);
  const defines = { ELEMENT_BF16: half === 'bf16' ? 1 : 0 };
  const modules: KernelModule[] = [];
  const kernels = new Map<string, Kernel>();
  const [major] = device.properties.computeCapability;
  const here = { ...sources, ...(major >= 9 ? clusterSources : {}), ...(major === 9 ? hopperSources : {}) };
  for (const [name, entries] of Object.entries(here)) {
    const source = await readFile(packageFile(`${folder}/${name}`), 'utf8');
    const module = device.loadModule(await cache.compile(nvrtc, { name, source, architecture, defines, headers }, signal));
    modules.push(module);
    for (const entry of entries) kernels.set(entry, module.kernel(entry));
  }
  const set = Object.fromEntries(kernels);
  if (!isComplete(set)) throw new Error('a kernel was not loaded');
  return { kernels: set, modules };
}

function isComplete(set: Readonly<Record<string, Kernel | undefined>>): set is KernelSet {
  return Object.values(sources)
    .flat()
    .every((name) => set[name] !== undefined);
}
