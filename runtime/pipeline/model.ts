/** A model on disk, in diffusers layout: its configs read, its weights opened, its tokenizers ready. No weight is read here. */
import { readdir, readFile } from 'node:fs/promises';
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import {
  parseClipTextConfig,
  parseUnetConfig,
  parseVaeConfig,
  unetUnit,
  vaeScaleFactor,
  type ClipTextConfig,
  type JsonObject,
  type UnetConfig,
  type VaeConfig,
} from '../models/index.js';
import { createScheduler, parseSchedulerConfig, type Scheduler } from '../schedulers/index.js';
import { ClipTokenizer } from '../tokenizer/index.js';
import { WeightsDirectory, type WeightsStem } from '../weights/index.js';

export interface TextEncoderParts {
  readonly config: ClipTextConfig;
  readonly tokenizer: ClipTokenizer;
  readonly weights: WeightsDirectory;
}

interface ModelParts {
  readonly directory: string;
  readonly textEncoder: TextEncoderParts;
  readonly textEncoder2: TextEncoderParts;
  readonly unet: { readonly config: UnetConfig; readonly weights: WeightsDirectory };
  readonly vae: { readonly config: VaeConfig; readonly weights: WeightsDirectory };
  readonly scheduler: Scheduler;
  /** Whether an absent negative prompt means zero embeddings, rather than the empty prompt's. */
  readonly forceZerosForEmptyPrompt: boolean;
  /** Digest of every config and tokenizer file. */
  readonly configDigest: string;
}

const configFiles = {
  index: 'model_index.json',
  textEncoder: 'text_encoder/config.json',
  textEncoder2: 'text_encoder_2/config.json',
  unet: 'unet/config.json',
  vae: 'vae/config.json',
  scheduler: 'scheduler/scheduler_config.json',
} as const;

/** The classes a component may have; anything else is refused by name. */
const supportedClasses: Readonly<Record<string, readonly string[]>> = {
  scheduler: [],
  text_encoder: ['CLIPTextModel'],
  text_encoder_2: ['CLIPTextModelWithProjection'],
  tokenizer: ['CLIPTokenizer', 'CLIPTokenizerFast'],
  tokenizer_2: ['CLIPTokenizer', 'CLIPTokenizerFast'],
  unet: ['UNet2DConditionModel'],
  vae: ['AutoencoderKL'],
};

export class Model implements AsyncDisposable {
  readonly parts: ModelParts;

  private constructor(parts: ModelParts) {
    this.parts = parts;
  }

  /**
   * Opens the model in `directory`; the caller closes it.
   * @throws SdxlError MODEL_NOT_FOUND, MODEL_UNSUPPORTED, WEIGHTS_INVALID, TOKENIZER_INVALID
   */
  static async open(directory: string): Promise<Model> {
    const digest = createHash('sha256');
    const config = async (file: string): Promise<JsonObject> => {
      const { json, content } = await readConfig(directory, file);
      digest.update(`${file}\0`).update(content).update('\0');
      return json;
    };
    const forceZerosForEmptyPrompt = readIndex(join(directory, configFiles.index), await config(configFiles.index));
    const [clip, clip2] = [await config(configFiles.textEncoder), await config(configFiles.textEncoder2)];
    const textConfig = parseClipTextConfig(clip, join(directory, configFiles.textEncoder));
    const textConfig2 = parseClipTextConfig(clip2, join(directory, configFiles.textEncoder2));
    const unetConfig = parseUnetConfig(await config(configFiles.unet), join(directory, configFiles.unet));
    const vaeConfig = parseVaeConfig(await config(configFiles.vae), join(directory, configFiles.vae));
    const scheduler = createScheduler(join(directory, configFiles.scheduler), await config(configFiles.scheduler));
    checkFit(directory, textConfig, textConfig2, unetConfig, vaeConfig);

    for (const folder of ['tokenizer', 'tokenizer_2']) digest.update(await digestFiles(join(directory, folder)));

    const opened: WeightsDirectory[] = [];
    const weights = async (component: string, stem: WeightsStem): Promise<WeightsDirectory> => {
      const found = await WeightsDirectory.open(join(directory, component), { stem });
      opened.push(found);
      return found;
    };
    try {
      return new Model({
        directory,
        textEncoder: {
          config: textConfig,
          tokenizer: await ClipTokenizer.open(join(directory, 'tokenizer')),
          weights: await weights('text_encoder', 'model'),
        },
        textEncoder2: {
          config: textConfig2,
          tokenizer: await ClipTokenizer.open(join(directory, 'tokenizer_2')),
          weights: await weights('text_encoder_2', 'model'),
        },
        unet: { config: unetConfig, weights: await weights('unet', 'diffusion_pytorch_model') },
        vae: { config: vaeConfig, weights: await weights('vae', 'diffusion_pytorch_model') },
        scheduler,
        forceZerosForEmptyPrompt,
        configDigest: digest.digest('hex'),
      });
    } catch (error) {
      await Promise.all(opened.map((folder) => folder.close()));
      throw error;
    }
  }

  /** Pixels per latent element along a side. */
  get vaeScaleFactor(): number {
    return vaeScaleFactor(this.parts.vae.config);
  }

  /** Latent rows and columns must be multiples of this. */
  get latentUnit(): number {
    return unetUnit(this.parts.unet.config);
  }

  /** Content digest of configs and weights: equal models have equal digests wherever they lie. Weights are hashed once per file. */
  async digest(cacheDirectory: string): Promise<string> {
    const { textEncoder, textEncoder2, unet, vae, configDigest } = this.parts;
    const all = createHash('sha256').update(configDigest);
    for (const { weights } of [textEncoder, textEncoder2, unet, vae]) all.update(await weights.digest({ cacheDirectory }));
    return all.digest('hex');
  }

  /** May be called twice. */
  async close(): Promise<void> {
    const { textEncoder, textEncoder2, unet, vae } = this.parts;
    await Promise.all([textEncoder, textEncoder2, unet, vae].map(({ weights }) => weights.close()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** Names and contents of a folder's files; what a missing folder means is its reader's to say. */
async function digestFiles(folder: string): Promise<string> {
  const digest = createHash('sha256');
  const names = await readdir(folder).catch(() => []);
  for (const name of names.filter((file) => /\.(json|txt)$/.test(file)).sort()) {
    digest
      .update(`${name}\0`)
      .update(await readFile(join(folder, name)))
      .update('\0');
  }
  return digest.digest('hex');
}

async function readConfig(directory: string, file: string): Promise<{ readonly json: JsonObject; readonly content: Buffer }> {
  const path = join(directory, file);
  const content = await readFile(path).catch((cause: unknown) => {
    throw new SdxlError(
      'MODEL_NOT_FOUND',
      `${directory} is not an SDXL model in diffusers layout: ${file} can't be read (${cause instanceof Error ? cause.message : String(cause)})`,
      { fields: { directory, file }, cause },
    );
  });
  try {
    const text = content.toString('utf8');
    const json: unknown = file === configFiles.scheduler ? parseSchedulerConfig(text) : JSON.parse(text);
    if (isObject(json)) return { json, content };
  } catch (cause) {
    throw new SdxlError('MODEL_UNSUPPORTED', `${path} is not JSON: ${String(cause)}`, { fields: { file: path }, cause });
  }
  throw new SdxlError('MODEL_UNSUPPORTED', `${path} must hold a JSON object`, { fields: { file: path } });
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Checks model_index.json; returns force_zeros_for_empty_prompt. */
function readIndex(path: string, index: JsonObject): boolean {
  const refuse = (field: string, found: unknown, allowed: string): never => {
    throw new SdxlError('MODEL_UNSUPPORTED', `${path}: ${field} is ${JSON.stringify(found)}, supported: ${allowed}`, {
      fields: { file: path, field, value: JSON.stringify(found), allowed },
    });
  };
  if (index['_class_name'] !== 'StableDiffusionXLPipeline') refuse('_class_name', index['_class_name'], '"StableDiffusionXLPipeline"');
  for (const [field, classes] of Object.entries(supportedClasses)) {
    const value = index[field];
    const name: unknown = Array.isArray(value) ? value[1] : undefined;
    if (typeof name !== 'string') refuse(field, value ?? null, 'a [library, class] pair');
    else if (classes.length > 0 && !classes.includes(name)) refuse(field, name, classes.join(' or '));
  }
  const forceZeros = index['force_zeros_for_empty_prompt'] ?? true;
  return typeof forceZeros === 'boolean' ? forceZeros : refuse('force_zeros_for_empty_prompt', forceZeros, 'true or false');
}

/** The components must fit together. */
function checkFit(directory: string, text: ClipTextConfig, text2: ClipTextConfig, unet: UnetConfig, vae: VaeConfig): void {
  const require = (what: string, found: number, expected: number): void => {
    if (found === expected) return;
    throw new SdxlError('MODEL_UNSUPPORTED', `${directory}: ${what} is ${String(found)}, the other components need ${String(expected)}`, {
      fields: { directory, field: what, found, expected },
    });
  };
  if (!text2.withProjection) {
    throw new SdxlError('MODEL_UNSUPPORTED', `${directory}: text_encoder_2 must be a CLIPTextModelWithProjection`, {
      fields: { directory },
    });
  }
  require('unet cross_attention_dim', unet.crossAttentionDim, text.hiddenSize + text2.hiddenSize);
  require('unet projection_class_embeddings_input_dim', unet.additionInputDim, text2.projectionDim + 6 * unet.additionTimeEmbedDim);
  require('text_encoder_2 max_position_embeddings', text2.maxPositions, text.maxPositions);
  require('unet in_channels', unet.inChannels, vae.latentChannels);
  require('unet out_channels', unet.outChannels, unet.inChannels);
}
