/**
 * A checkpoint in SDXL's original layout as four components. Its tensors are used where they lie: parts of a joined projection are
 * rows of it, a 1×1 convolution is its matrix. Only OpenCLIP's text projection, stored transposed, must be made anew.
 */
import { SdxlError } from '../errors/index.js';
import { buildUnet, buildVaeDecoder, type ClipTextConfig, type UnetConfig, type VaeConfig } from '../models/index.js';
import { describeShape, weightsError, WeightsDirectory, type SafetensorsFile, type WeightView } from '../weights/index.js';
import { openClipLayer, openClipTop, originalPrefixes, originalUnetModule, originalVaeModule } from './original-names.js';

export interface ComponentConfigs {
  readonly textEncoder: ClipTextConfig;
  readonly textEncoder2: ClipTextConfig;
  readonly unet: UnetConfig;
  readonly vae: VaeConfig;
}

export type ComponentWeights = { readonly [Name in keyof ComponentConfigs]: WeightsDirectory };

/** The name of the stored text projection, `[hidden, projection]`; the model's is `text_projection.weight`, transposed. */
export const storedTextProjection = 'text_projection';

/**
 * The components of an open checkpoint; the caller closes them, and with them the file.
 * @throws SdxlError MODEL_UNSUPPORTED for another model's checkpoint, WEIGHTS_INVALID naming the tensor that does not fit.
 */
export function openSingleFile(file: SafetensorsFile, configs: ComponentConfigs): ComponentWeights {
  refuseOthers(file);
  const { unet, vae } = configs;
  const views = {
    textEncoder: textEncoderViews(file),
    textEncoder2: openClipViews(file, configs.textEncoder2),
    unet: graphViews(file, buildUnet(unet).weights, (module) => originalPrefixes.unet + originalUnetModule(module, unet)),
    vae: graphViews(
      file,
      buildVaeDecoder(vae).weights,
      (module) => originalPrefixes.vae + originalVaeModule(module, vae.blockOutChannels.length),
    ),
  };
  return {
    textEncoder: WeightsDirectory.viewing(file, views.textEncoder),
    textEncoder2: WeightsDirectory.viewing(file, views.textEncoder2),
    unet: WeightsDirectory.viewing(file, views.unet),
    vae: WeightsDirectory.viewing(file, views.vae),
  };
}

/** What a checkpoint says of its noise schedule: community checkpoints mark v-prediction and zero terminal SNR by empty tensors. */
export function scheduleMarks(file: SafetensorsFile): Readonly<Record<string, string | boolean>> {
  return {
    ...(file.tensors.has('v_pred') ? { prediction_type: 'v_prediction' } : {}),
    ...(file.tensors.has('ztsnr') ? { rescale_betas_zero_snr: true } : {}),
  };
}

/** A view of every weight of a graph, whose shapes must be those stored, but for trailing ones. */
function graphViews(
  file: SafetensorsFile,
  weights: readonly { readonly key: string; readonly shape: readonly number[] }[],
  original: (module: string) => string,
): WeightView[] {
  return weights.map(({ key, shape }) => {
    const dot = key.lastIndexOf('.');
    const stored = `${original(key.slice(0, dot))}${key.slice(dot)}`;
    const found = file.tensors.get(stored)?.shape;
    if (found === undefined || !sameShape(found, shape)) {
      throw weightsError({
        file: file.path,
        tensor: stored,
        expected: `shape ${describeShape(shape)} (${key})`,
        found: found === undefined ? `no such tensor among ${String(file.tensors.size)}` : `shape ${describeShape(found)}`,
        advice: mismatchAdvice,
      });
    }
    return { name: key, stored, shape, firstElement: 0 };
  });
}

const mismatchAdvice =
  "the checkpoint is of another architecture than the configs (SDXL base's where spec.model.configFrom, --config-from, names no other)";

function sameShape(found: readonly number[], wanted: readonly number[]): boolean {
  const trimmed = (shape: readonly number[]): readonly number[] => {
    const end = shape.findLastIndex((dim) => dim !== 1);
    return shape.slice(0, end + 1);
  };
  const [a, b] = [trimmed(found), trimmed(wanted)];
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/** The first text encoder has transformers' own names. */
function textEncoderViews(file: SafetensorsFile): WeightView[] {
  const prefix = originalPrefixes.textEncoder;
  return [...file.tensors.values()]
    .filter(({ name }) => name.startsWith(prefix) && !name.endsWith('.position_ids'))
    .map(({ name, shape }) => ({ name: name.slice(prefix.length), stored: name, shape, firstElement: 0 }));
}

/** The second is OpenCLIP's: query, key and value of a layer are the rows of one matrix. */
function openClipViews(file: SafetensorsFile, { hiddenSize }: ClipTextConfig): WeightView[] {
  const prefix = originalPrefixes.textEncoder2;
  const views: WeightView[] = [];
  for (const { name: stored, shape } of file.tensors.values()) {
    if (!stored.startsWith(prefix)) continue;
    const whole = (name: string): void => void views.push({ name, stored, shape, firstElement: 0 });
    const rest = stored.slice(prefix.length);
    const top = openClipTop[rest];
    if (top !== undefined) whole(top);
    else if (rest === 'text_projection') whole(storedTextProjection);
    else if (rest === 'text_projection.weight') whole(rest);
    const [, layer, module = '', leaf = ''] = /^transformer\.resblocks\.(\d+)\.(.+?)[._](weight|bias)$/.exec(rest) ?? [];
    if (layer === undefined) continue;
    const at = `text_model.encoder.layers.${layer}`;
    if (module !== 'attn.in_proj') {
      const name = openClipLayer[module];
      if (name !== undefined) whole(`${at}.${name}.${leaf}`);
      continue;
    }
    const part = [hiddenSize, ...shape.slice(1)];
    if (shape[0] !== 3 * hiddenSize) {
      const expected = `shape ${describeShape([3 * hiddenSize, ...shape.slice(1)])} (query, key and value)`;
      throw weightsError({ file: file.path, tensor: stored, expected, found: `shape ${describeShape(shape)}`, advice: mismatchAdvice });
    }
    const elements = part.reduce((product, dim) => product * dim, 1);
    ['q_proj', 'k_proj', 'v_proj'].forEach((projection, index) => {
      views.push({ name: `${at}.self_attn.${projection}.${leaf}`, stored, shape: part, firstElement: index * elements });
    });
  }
  return views;
}

/** Says what a file is that is no SDXL checkpoint. */
function refuseOthers(file: SafetensorsFile): void {
  const names = [...file.tensors.keys()];
  const some = (pattern: RegExp): boolean => names.some((name) => pattern.test(name));
  const refuse = (what: string): never => {
    throw new SdxlError('MODEL_UNSUPPORTED', `${file.path} is ${what}, supported: a checkpoint of SDXL in its original layout`, {
      fields: { file: file.path, found: what },
    });
  };
  if (some(/\.(lora_down|lora_up|lora_A|lora_B)\.weight$/)) refuse('a LoRA adapter (give it as spec.model.loras, --lora)');
  if (some(/^model\.diffusion_model\.(double_blocks|joint_blocks|transformer_blocks)\./)) refuse('a checkpoint of a diffusion transformer');
  if (some(/^cond_stage_model\./)) refuse('a checkpoint of Stable Diffusion 1 or 2');
  if (some(/^conditioner\.embedders\.0\.model\./)) refuse("a checkpoint of SDXL's refiner");
  if (some(/^(down_blocks|up_blocks|conv_in)\./)) refuse('one component in diffusers layout (give its directory)');
  for (const [component, prefix] of Object.entries({
    UNet: originalPrefixes.unet,
    VAE: `${originalPrefixes.vae}decoder.`,
    'first text encoder': originalPrefixes.textEncoder,
    'second text encoder': originalPrefixes.textEncoder2,
  })) {
    if (!names.some((name) => name.startsWith(prefix))) refuse(`a file without a ${component} (no tensor ${prefix}…)`);
  }
  const channels = file.tensors.get(`${originalPrefixes.unet}input_blocks.0.0.weight`)?.shape[1];
  if (channels === 9 || channels === 8) {
    refuse(`a checkpoint for ${channels === 9 ? 'inpainting' : 'editing by instructions'} (its UNet takes ${channels} channels)`);
  }
}
