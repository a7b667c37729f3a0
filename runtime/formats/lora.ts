/**
 * LoRA adapters merged into a model's weights: W + Σ weight · alpha / rank · up × down, for linear layers and convolutions. Every
 * module an adapter names must be one of the model's, with matrices that fit it; what doesn't is refused by name.
 */
import type { UnetConfig } from '../models/index.js';
import { describeShape, fileDigest, weightsError, type SafetensorsFile, type TensorEntry } from '../weights/index.js';
import type { Delta, DerivedWeights } from './derived-weights.js';
import { readPairs, readScaleRules, type LoraPair } from './lora-file.js';
import { originalUnetModule } from './original-names.js';

/** An adapter to merge. */
export interface Lora {
  readonly file: SafetensorsFile;
  /** How much of it. */
  readonly weight: number;
}

/** The components adapters change. */
export interface LoraTargets {
  readonly unet: DerivedWeights;
  readonly textEncoder: DerivedWeights;
  readonly textEncoder2: DerivedWeights;
  readonly unetConfig: Pick<UnetConfig, 'layersPerBlock' | 'upHasAttention'>;
}

interface Target {
  readonly component: string;
  readonly derived: DerivedWeights;
  /** Module path in diffusers' names. */
  readonly module: string;
}

/**
 * Adds the adapter's changes to its targets; reads headers and alphas, no matrix.
 * @throws SdxlError WEIGHTS_INVALID with file and tensor
 */
export async function addLora({ file, weight }: Lora, targets: LoraTargets): Promise<void> {
  const modules = spellings(targets);
  const ruleOf = readScaleRules(file);
  for (const pair of readPairs(file).values()) {
    const target = modules(pair.spelled);
    const name = `${target?.module ?? ''}.weight`;
    const shape = target?.derived.shapeOf(name);
    if (target === undefined || shape === undefined) {
      throw weightsError({
        file: file.path,
        tensor: pair.down,
        expected: 'a module of the UNet or of a text encoder',
        found: `${pair.spelled}, which this model has not`,
        advice: 'the adapter was made for another model',
      });
    }
    const matrices = fit(file, pair, target, shape);
    const rule = ruleOf(target.component, target.module);
    const alpha = pair.alpha === undefined ? (rule.alpha ?? matrices.rank) : await readAlpha(file, pair.alpha);
    const scale = (weight * alpha) / (rule.rankStabilized ? Math.sqrt(matrices.rank) : matrices.rank);
    target.derived.add(name, deltaOf(file, pair, matrices, scale));
  }
}

/** Finds the module a spelling means. Names are made from the model's own modules, so none can mean two. */
function spellings({ unet, textEncoder, textEncoder2, unetConfig }: LoraTargets): (spelled: string) => Target | undefined {
  const table = new Map<string, Target>();
  const add = (spelled: string, target: Target): void => void table.set(spelled, target);
  const flat = (module: string): string => module.replaceAll('.', '_');
  for (const module of modulesOf(unet)) {
    const target = { component: 'unet', derived: unet, module };
    add(`unet.${module}`, target);
    add(`unet.${module.replace(/\.(attn\d)\.(to_\w+)(\.0)?$/, '.$1.processor.$2')}`, target);
    add(`lora_unet_${flat(module)}`, target);
    add(`lora_unet_${flat(originalUnetModule(module, unetConfig))}`, target);
  }
  const encoders = [
    { component: 'text_encoder', derived: textEncoder, kohya: ['lora_te1', 'lora_te'] },
    { component: 'text_encoder_2', derived: textEncoder2, kohya: ['lora_te2'] },
  ];
  for (const { component, derived, kohya } of encoders) {
    for (const module of modulesOf(derived)) {
      const target = { component, derived, module };
      // Newer transformers leave the first part out: of the model's names, of the adapter's, or of both.
      const long = /^(text_model|text_projection)/.test(module) ? module : `text_model.${module}`;
      const short = long.replace(/^text_model\./, '');
      const older = long.replace(/self_attn\.(q|k|v|out)_proj$/, 'self_attn.to_$1');
      for (const spelled of [short, long, older]) add(`${component}.${spelled}`, target);
      for (const prefix of kohya) for (const spelled of [short, long]) add(`${prefix}_${flat(spelled)}`, target);
    }
  }
  return (spelled) => table.get(spelled);
}

function modulesOf(derived: DerivedWeights): string[] {
  return derived
    .names()
    .filter((name) => name.endsWith('.weight') && [2, 4].includes(derived.shapeOf(name)?.length ?? 0))
    .map((name) => name.slice(0, -'.weight'.length));
}

interface Matrices {
  readonly rank: number;
  /** Elements of a row of the weight: inputs × kernel. */
  readonly columns: number;
  readonly rows: number;
}

/** Checks the pair against the weight it changes: down `[rank, in, k, k]`, up `[out, rank, 1, 1]`; linear ones without the kernel. */
function fit(file: SafetensorsFile, pair: LoraPair, target: Target, shape: readonly number[]): Matrices {
  const [down, up] = [file.entry(pair.down), file.entry(pair.up)];
  const rank = down.shape[0] ?? 0;
  const [rows = 0, ...inner] = shape;
  requireShape(file, down, [rank, ...inner], target);
  requireShape(file, up, [rows, rank, ...inner.slice(1).map(() => 1)], target);
  return { rank, rows, columns: inner.reduce((product, dim) => product * dim, 1) };
}

function requireShape(file: SafetensorsFile, entry: TensorEntry, expected: readonly number[], { component, module }: Target): void {
  const padded = (shape: readonly number[]): string => [...shape, 1, 1, 1, 1].slice(0, 4).join();
  if (expected[0] !== 0 && entry.shape.length >= 2 && padded(entry.shape) === padded(expected)) return;
  throw weightsError({
    file: file.path,
    tensor: entry.name,
    expected: `shape ${describeShape(expected)} to fit ${component} ${module}`,
    found: `shape ${describeShape(entry.shape)}`,
    advice: 'the adapter was made for another model',
  });
}

/** Alpha may be stored as whatever number its trainer had. */
async function readAlpha(file: SafetensorsFile, name: string): Promise<number> {
  const { dtype, sizeBytes } = file.entry(name);
  const wide = { F64: 8, I64: 8, I32: 4 } as const;
  let alpha = Number.NaN;
  if (dtype === 'F64' || dtype === 'I64' || dtype === 'I32') {
    if (sizeBytes === wide[dtype]) {
      const bytes = new DataView(new ArrayBuffer(sizeBytes));
      await file.read(name, new Uint8Array(bytes.buffer));
      if (dtype === 'F64') alpha = bytes.getFloat64(0, true);
      else alpha = dtype === 'I64' ? Number(bytes.getBigInt64(0, true)) : bytes.getInt32(0, true);
    }
  } else {
    const { data } = await file.readFloat32(name);
    if (data.length === 1) alpha = data[0] ?? alpha;
  }
  if (Number.isFinite(alpha)) return alpha;
  throw weightsError({
    file: file.path,
    tensor: name,
    expected: 'one finite number',
    found: String(alpha),
    advice: 'the adapter is damaged',
  });
}

function deltaOf(file: SafetensorsFile, pair: LoraPair, { rank, rows, columns }: Matrices, scale: number): Delta {
  return {
    describe: async (cacheDirectory) => JSON.stringify([await fileDigest(file.realPath, { cacheDirectory }), pair.down, scale]),
    addTo: async (values) => {
      const [down, up] = [(await file.readFloat32(pair.down)).data, (await file.readFloat32(pair.up)).data];
      // A row's change is summed on its own first, as the product of two matrices would be.
      const change = new Float32Array(columns);
      for (let row = 0; row < rows; row++) {
        change.fill(0);
        for (let inner = 0; inner < rank; inner++) {
          const factor = up[row * rank + inner] ?? 0;
          const from = inner * columns;
          for (let column = 0; column < columns; column++) change[column] = (change[column] ?? 0) + factor * (down[from + column] ?? 0);
        }
        const at = row * columns;
        for (let column = 0; column < columns; column++) values[at + column] = (values[at + column] ?? 0) + scale * (change[column] ?? 0);
      }
    },
  };
}
