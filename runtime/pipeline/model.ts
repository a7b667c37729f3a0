/** A model on disk: its configs read, its weights opened, its tokenizers ready, its adapters checked. No weight is read at opening. */
import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import {
  addLora,
  DerivedWeights,
  openSingleFile,
  scheduleMarks,
  storedTextProjection,
  type ComponentWeights,
  type DerivedWeightsOptions,
} from '../formats/index.js';
import { unetUnit, vaeScaleFactor, type ClipTextConfig, type UnetConfig, type VaeConfig } from '../models/index.js';
import type { Scheduler, SchedulerChoice } from '../schedulers/index.js';
import { ClipTokenizer } from '../tokenizer/index.js';
import { componentVariants, fileDigest, SafetensorsFile, vanished, WeightsDirectory, type WeightsStem } from '../weights/index.js';
import { readModelConfigs, type ModelConfigs } from './model-configs.js';
import { isSingleFile, type ModelSource } from './model-source.js';

export interface TextEncoderParts {
  readonly config: ClipTextConfig;
  readonly tokenizer: ClipTokenizer;
  readonly weights: WeightsDirectory;
}

interface ModelParts {
  /** The diffusers directory, or the checkpoint's file. */
  readonly directory: string;
  readonly textEncoder: TextEncoderParts;
  readonly textEncoder2: TextEncoderParts;
  readonly unet: { readonly config: UnetConfig; readonly weights: WeightsDirectory };
  readonly vae: { readonly config: VaeConfig; readonly weights: WeightsDirectory };
  readonly scheduler: ModelConfigs['scheduler'];
  /** Whether an absent negative prompt means zero embeddings, rather than the empty prompt's. */
  readonly forceZerosForEmptyPrompt: boolean;
  /** Digest of every config and tokenizer file. */
  readonly configDigest: string;
  /** Merged into the weights, in this order. */
  readonly loras: NonNullable<ModelSource['loras']>;
}

interface OpenAdapter {
  readonly file: SafetensorsFile;
  readonly weight: number;
}

export class Model implements AsyncDisposable {
  readonly parts: ModelParts;
  readonly #derived: readonly DerivedWeights[];
  readonly #adapters: readonly OpenAdapter[];

  private constructor(parts: ModelParts, derived: readonly DerivedWeights[], adapters: readonly OpenAdapter[]) {
    this.parts = parts;
    this.#derived = derived;
    this.#adapters = adapters;
  }

  /**
   * Opens the model of a source, or in a directory; the caller closes it, and materializes it before engines are prepared.
   * @throws SdxlError MODEL_NOT_FOUND, MODEL_UNSUPPORTED, WEIGHTS_INVALID, TOKENIZER_INVALID
   */
  static async open(source: string | ModelSource): Promise<Model> {
    const asked: ModelSource = typeof source === 'string' ? { path: source } : source;
    const opened: { close(): Promise<void> }[] = [];
    const own = <T extends { close(): Promise<void> }>(part: T): T => {
      opened.push(part);
      return part;
    };
    try {
      const { configs, weights, tokenizers } = isSingleFile(asked.path)
        ? await openCheckpoint(asked, own)
        : await openDirectory(asked, own);
      const digest = createHash('sha256').update(configs.digest);
      for (const folder of ['tokenizer', 'tokenizer_2']) digest.update(await digestFiles(join(tokenizers, folder)));
      const parts: ModelParts = {
        directory: asked.path,
        textEncoder: {
          config: configs.textEncoder,
          tokenizer: await ClipTokenizer.open(join(tokenizers, 'tokenizer')),
          weights: weights.textEncoder,
        },
        textEncoder2: {
          config: configs.textEncoder2,
          tokenizer: await ClipTokenizer.open(join(tokenizers, 'tokenizer_2')),
          weights: weights.textEncoder2,
        },
        unet: { config: configs.unet, weights: weights.unet },
        vae: { config: configs.vae, weights: weights.vae },
        scheduler: configs.scheduler,
        forceZerosForEmptyPrompt: configs.forceZerosForEmptyPrompt,
        configDigest: digest.digest('hex'),
        loras: asked.loras ?? [],
      };
      const adapters: OpenAdapter[] = [];
      for (const { path, weight } of asked.loras ?? []) adapters.push({ file: own(await SafetensorsFile.open(path)), weight });
      return new Model(parts, await derive(parts, adapters), adapters);
    } catch (error) {
      await Promise.all(opened.map((part) => part.close()));
      throw error;
    }
  }

  /** The sampler of a job. @throws SdxlError MODEL_UNSUPPORTED, JOB_INVALID naming the field that can't be honoured */
  scheduler(choice?: SchedulerChoice): Scheduler {
    return this.parts.scheduler(choice);
  }

  /** Pixels per latent element along a side. */
  get vaeScaleFactor(): number {
    return vaeScaleFactor(this.parts.vae.config);
  }

  /** Latent rows and columns must be multiples of this. */
  get latentUnit(): number {
    return unetUnit(this.parts.unet.config);
  }

  /**
   * Content digest of configs, weights and adapters: equal models have equal digests wherever they lie. Weights are hashed once per
   * file.
   */
  async digest(cacheDirectory: string): Promise<string> {
    const { textEncoder, textEncoder2, unet, vae, configDigest } = this.parts;
    const all = createHash('sha256').update(configDigest);
    for (const { weights } of [textEncoder, textEncoder2, unet, vae]) all.update(await weights.digest({ cacheDirectory }));
    for (const { file, weight } of this.#adapters) all.update(`${await fileDigest(file.realPath, { cacheDirectory })} ${String(weight)}`);
    return all.digest('hex');
  }

  /** Makes the tensors that no file holds (merged adapters, converted ones) or finds them in the cache. Once, before engines are prepared. */
  async materialize(options: DerivedWeightsOptions): Promise<void> {
    for (const derived of this.#derived) await derived.materialize(options);
  }

  /** May be called twice. */
  async close(): Promise<void> {
    const { textEncoder, textEncoder2, unet, vae } = this.parts;
    await Promise.all([textEncoder, textEncoder2, unet, vae].map(({ weights }) => weights.close()));
    await Promise.all(this.#adapters.map(({ file }) => file.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

interface Opened {
  readonly configs: ModelConfigs;
  readonly weights: ComponentWeights;
  /** Where `tokenizer/` and `tokenizer_2/` lie. */
  readonly tokenizers: string;
}

type Own = <T extends { close(): Promise<void> }>(part: T) => T;

async function openDirectory({ path, variant }: ModelSource, own: Own): Promise<Opened> {
  const configs = await readModelConfigs(path);
  if (variant !== undefined) await requireVariant(path, variant);
  const weights = async (component: keyof typeof components): Promise<WeightsDirectory> =>
    own(
      await WeightsDirectory.open(join(path, component), {
        stem: components[component],
        ...(variant === undefined ? {} : { variant }),
      }),
    );
  return {
    configs,
    weights: {
      textEncoder: await weights('text_encoder'),
      textEncoder2: await weights('text_encoder_2'),
      unet: await weights('unet'),
      vae: await weights('vae'),
    },
    tokenizers: path,
  };
}

const components = {
  text_encoder: 'model',
  text_encoder_2: 'model',
  unet: 'diffusion_pytorch_model',
  vae: 'diffusion_pytorch_model',
} as const satisfies Record<string, WeightsStem>;

/** As diffusers does, a component without the variant is taken plain; but some component must have it. */
async function requireVariant(path: string, variant: string): Promise<void> {
  const found = await Promise.all(Object.entries(components).map(([component, stem]) => componentVariants(join(path, component), stem)));
  const all = [...new Set(found.flat())].sort();
  if (all.includes(variant)) return;
  const there = all.length === 0 ? 'no variants' : all.join(', ');
  const advice = all.length === 0 ? 'leave it out to read the plain weights' : 'name one of them, or none for the plain weights';
  throw new SdxlError(
    'MODEL_NOT_FOUND',
    `${path}: no component has weights of the variant "${variant}", found ${there}: ${advice} (spec.model.variant, --variant)`,
    { fields: { directory: path, variant, found: there } },
  );
}

async function openCheckpoint({ path, tokenizer, configFrom }: ModelSource, own: Own): Promise<Opened> {
  const file = own(await SafetensorsFile.open(path));
  const configs = await readModelConfigs(configFrom, scheduleMarks(file));
  const tokenizers = tokenizer ?? configFrom;
  if (tokenizers === undefined) {
    throw new SdxlError(
      'MODEL_NOT_FOUND',
      `${path} is a single file and holds no tokenizers: name a directory with tokenizer/ and tokenizer_2/ as spec.model.tokenizer (--tokenizer)`,
      { fields: { file: path } },
    );
  }
  return { configs, weights: openSingleFile(file, configs), tokenizers };
}

/** What is to be made of the stored weights, one entry per component that changes. */
async function derive(
  { textEncoder, textEncoder2, unet }: ModelParts,
  adapters: readonly OpenAdapter[],
): Promise<readonly DerivedWeights[]> {
  const targets = {
    unet: new DerivedWeights('unet', unet.weights),
    textEncoder: new DerivedWeights('text_encoder', textEncoder.weights),
    textEncoder2: new DerivedWeights('text_encoder_2', textEncoder2.weights),
  };
  const projection = 'text_projection.weight';
  if (!textEncoder2.weights.has(projection) && textEncoder2.weights.has(storedTextProjection))
    targets.textEncoder2.transpose(projection, storedTextProjection);
  for (const adapter of adapters) await addLora(adapter, { ...targets, unetConfig: unet.config });
  return Object.values(targets);
}

/** Names and contents of a folder's files; what a missing folder means is its reader's to say. */
async function digestFiles(folder: string): Promise<string> {
  const digest = createHash('sha256');
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((file) => /\.(json|txt)$/.test(file)).sort()) {
    const content = await readFile(join(folder, name)).catch((cause: unknown) => {
      throw vanished(join(folder, name), cause);
    });
    digest.update(`${name}\0`).update(content).update('\0');
  }
  return digest.digest('hex');
}
