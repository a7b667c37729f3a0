/** What an image is conditioned on: both text encoders' states, the pooled projection, the size ids (Podell et al. 2023, 2.2). */
import { float32, type Tensor } from '../tensor/index.js';
import { floatOutput } from './bands.js';
import type { Model } from './model.js';
import { concatFeatures, runTextEncoder, type TextEncoders } from './text-encoder.js';
import { hiddenStatesOutput } from '../models/index.js';
import type { CropOffset, ImageRequest, PixelSize } from './request.js';

/** One prompt's embeddings. */
export interface PromptEmbedding {
  /** `[1, tokens, hidden1 + hidden2]`. */
  readonly promptEmbeds: Tensor<'f32'>;
  /** `[1, projectionDim]`. */
  readonly pooledPromptEmbeds: Tensor<'f32'>;
}

/** The UNet's inputs that stay the same over the steps of an image; `batch` is one row per guidance branch. */
export interface Conditioning {
  readonly encoder_hidden_states: Tensor<'f32'>;
  readonly text_embeds: Tensor<'f32'>;
  readonly time_ids: Tensor<'f32'>;
}

/** What the text encoders are told. */
export interface PromptTexts {
  readonly prompt: string;
  /** For the second encoder. Undefined: `prompt`. */
  readonly prompt2?: string;
  /** Layers left out beyond the last. Undefined: none. */
  readonly clipSkip?: number;
}

/** Encodes one prompt with both encoders. `onTruncated` is told what did not fit. */
export async function encodePrompt(
  model: Model,
  encoders: TextEncoders,
  { prompt, prompt2 = prompt, clipSkip = 0 }: PromptTexts,
  onTruncated: (text: string) => void,
  signal: AbortSignal | undefined,
): Promise<PromptEmbedding> {
  const { textEncoder, textEncoder2 } = model.parts;
  const tokens = textEncoder.tokenizer.encode(prompt);
  const tokens2 = textEncoder2.tokenizer.encode(prompt2);
  if (tokens.truncatedText !== undefined) onTruncated(tokens.truncatedText);
  if (prompt2 !== prompt && tokens2.truncatedText !== undefined) onTruncated(tokens2.truncatedText);
  const first = await runTextEncoder(textEncoder, encoders.textEncoder, tokens.inputIds, signal);
  const second = await runTextEncoder(textEncoder2, encoders.textEncoder2, tokens2.inputIds, signal);
  const states = hiddenStatesOutput(clipSkip);
  return {
    promptEmbeds: concatFeatures(floatOutput(first, states), floatOutput(second, states)),
    pooledPromptEmbeds: floatOutput(second, 'text_embeds'),
  };
}

/**
 * The unconditional branch of guidance (diffusers 0.42 StableDiffusionXLPipeline.encode_prompt): layers are skipped for the prompt alone.
 */
export async function encodeNegative(
  model: Model,
  encoders: TextEncoders,
  request: ImageRequest,
  positive: PromptEmbedding,
  onTruncated: (text: string) => void,
  signal: AbortSignal | undefined,
): Promise<PromptEmbedding> {
  if (request.negativePrompt === undefined && model.parts.forceZerosForEmptyPrompt) {
    return { promptEmbeds: float32(positive.promptEmbeds.shape), pooledPromptEmbeds: float32(positive.pooledPromptEmbeds.shape) };
  }
  const { negativePrompt = '', negativePrompt2 = negativePrompt } = request;
  return encodePrompt(model, encoders, { prompt: negativePrompt, prompt2: negativePrompt2 }, onTruncated, signal);
}

/** One branch of guidance: what its prompt and its sizes say. */
export interface Branch {
  readonly embedding: PromptEmbedding;
  /** Original height and width, crop top and left, target height and width. */
  readonly timeIds: readonly number[];
}

/** Stacks the branches this rank runs, in order. */
export function conditioning(branches: readonly Branch[]): Conditioning {
  return {
    encoder_hidden_states: stack(branches.map(({ embedding }) => embedding.promptEmbeds)),
    text_embeds: stack(branches.map(({ embedding }) => embedding.pooledPromptEmbeds)),
    time_ids: float32([branches.length, 6], Float32Array.from(branches.flatMap(({ timeIds }) => timeIds))),
  };
}

export function positiveTimeIds(request: ImageRequest): readonly number[] {
  const { originalSize = request, cropsCoordsTopLeft, targetSize = request } = request;
  return timeIds(originalSize, cropsCoordsTopLeft, targetSize);
}

/** As diffusers takes them: the negative sizes count where both are given. */
export function negativeTimeIds(request: ImageRequest): readonly number[] {
  const { negativeOriginalSize, negativeCropsCoordsTopLeft, negativeTargetSize } = request;
  if (negativeOriginalSize === undefined || negativeTargetSize === undefined) return positiveTimeIds(request);
  return timeIds(negativeOriginalSize, negativeCropsCoordsTopLeft, negativeTargetSize);
}

function timeIds(original: PixelSize, { top, left }: CropOffset = { top: 0, left: 0 }, target: PixelSize): readonly number[] {
  return [original.height, original.width, top, left, target.height, target.width];
}

/** Concatenates `[1, …]` tensors to `[n, …]`. */
function stack(rows: readonly Tensor<'f32'>[]): Tensor<'f32'> {
  const [first] = rows;
  if (first === undefined) throw new Error('nothing to stack');
  const stacked = float32([rows.length, ...first.shape.slice(1)]);
  rows.forEach((row, index) => {
    stacked.data.set(row.data, index * first.data.length);
  });
  return stacked;
}
