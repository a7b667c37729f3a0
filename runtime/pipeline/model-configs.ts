/** The configs of a model: read from a diffusers directory or, for a checkpoint that has none, SDXL base's; checked one by one and together. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import { sdxlBaseConfigs, type ComponentConfigs } from '../formats/index.js';
import {
  parseClipTextConfig,
  parseUnetConfig,
  parseVaeConfig,
  type ClipTextConfig,
  type JsonObject,
  type UnetConfig,
  type VaeConfig,
} from '../models/index.js';
import { createScheduler, parseSchedulerConfig, type Scheduler, type SchedulerChoice } from '../schedulers/index.js';

export interface ModelConfigs extends ComponentConfigs {
  /** The sampler of a job, from the model's config. Read only there: a model whose own sampler is not supported may do with another. */
  readonly scheduler: (choice?: SchedulerChoice) => Scheduler;
  /** Whether an absent negative prompt means zero embeddings, rather than the empty prompt's. */
  readonly forceZerosForEmptyPrompt: boolean;
  /** Of every config's content. */
  readonly digest: string;
}

const configFiles = {
  index: 'model_index.json',
  textEncoder: 'text_encoder/config.json',
  textEncoder2: 'text_encoder_2/config.json',
  unet: 'unet/config.json',
  vae: 'vae/config.json',
  scheduler: 'scheduler/scheduler_config.json',
} as const satisfies Record<string, keyof typeof sdxlBaseConfigs>;

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

/**
 * Reads the configs in `directory`, or SDXL base's where it is undefined. `scheduleMarks` are fields of the scheduler's config that the
 * weights' own file knows better.
 * @throws SdxlError MODEL_NOT_FOUND, MODEL_UNSUPPORTED
 */
export async function readModelConfigs(directory: string | undefined, scheduleMarks: JsonObject = {}): Promise<ModelConfigs> {
  const digest = createHash('sha256');
  const source = directory ?? "SDXL base's published configs";
  const config = async (file: keyof typeof sdxlBaseConfigs, marks: JsonObject = {}): Promise<JsonObject> => {
    const { json, content } = directory === undefined ? publishedConfig(file) : await readConfig(directory, file);
    digest.update(`${file}\0`).update(content).update('\0');
    if (Object.keys(marks).length === 0) return json;
    digest.update(JSON.stringify(marks));
    return { ...json, ...marks };
  };
  const forceZerosForEmptyPrompt = readIndex(join(source, configFiles.index), await config(configFiles.index));
  const [clip, clip2] = [await config(configFiles.textEncoder), await config(configFiles.textEncoder2)];
  const textEncoder = parseClipTextConfig(clip, join(source, configFiles.textEncoder));
  const textEncoder2 = parseClipTextConfig(clip2, join(source, configFiles.textEncoder2));
  const unet = parseUnetConfig(await config(configFiles.unet), join(source, configFiles.unet));
  const vae = parseVaeConfig(await config(configFiles.vae), join(source, configFiles.vae));
  const schedulerConfig = await config(configFiles.scheduler, scheduleMarks);
  const scheduler = (choice?: SchedulerChoice): Scheduler => createScheduler(join(source, configFiles.scheduler), schedulerConfig, choice);
  checkFit(source, textEncoder, textEncoder2, unet, vae);
  return { textEncoder, textEncoder2, unet, vae, scheduler, forceZerosForEmptyPrompt, digest: digest.digest('hex') };
}

function publishedConfig(file: keyof typeof sdxlBaseConfigs): { readonly json: JsonObject; readonly content: string } {
  const json = sdxlBaseConfigs[file];
  return { json, content: JSON.stringify(json) };
}

async function readConfig(directory: string, file: string): Promise<{ readonly json: JsonObject; readonly content: Buffer }> {
  const path = join(directory, file);
  const content = await readFile(path).catch((cause: unknown) => {
    const isFile = cause instanceof Error && 'code' in cause && cause.code === 'ENOTDIR';
    const problem = isFile
      ? 'it is a file, and of files .safetensors checkpoints alone are read; convert pickled ones'
      : `${file} can't be read (${cause instanceof Error ? cause.message : String(cause)})`;
    throw new SdxlError('MODEL_NOT_FOUND', `${directory} is not an SDXL model in diffusers layout: ${problem}`, {
      fields: { directory, file },
      cause,
    });
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
  if (index['_class_name'] !== 'StableDiffusionXLPipeline') {
    refuse('_class_name', index['_class_name'], '"StableDiffusionXLPipeline", such as stabilityai/stable-diffusion-xl-base-1.0');
  }
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
