/**
 * Prompts of any length with weights: chunks of 75 tokens between BOS and EOS, encoded one by one and joined, each token's state moved along
 * the line from the chunk's last state through its own. Reference: `get_weighted_text_embeddings_sdxl` of diffusers 0.40,
 * examples/community/lpw_stable_diffusion_xl.py, with its `pad_last_block`, so that every context is a multiple of 77 long.
 */
import type { Executor } from '../engine/index.js';
import { hiddenStatesOutput } from '../models/index.js';
import { float32, float32ToFloat16, float16ToFloat32, type Tensor } from '../tensor/index.js';
import type { ClipTokenizer } from '../tokenizer/index.js';
import { floatOutput } from './bands.js';
import type { PromptEmbedding } from './conditioning.js';
import type { Model, TextEncoderParts } from './model.js';
import { parseWeightedPrompt } from './prompt-weights.js';
import type { ImageRequest } from './request.js';
import { concatFeatures, runTextEncoder, type TextEncoders } from './text-encoder.js';

/** A prompt's tokens without BOS and EOS, and the weight of each. */
interface TokenSequence {
  readonly ids: readonly number[];
  readonly weights: readonly number[];
}

/** One branch, by encoder. */
interface BranchTokens {
  readonly first: TokenSequence;
  readonly second: TokenSequence;
}

export interface WeightedTokens {
  /** How many chunks every sequence is padded to. */
  readonly chunks: number;
  readonly positive: BranchTokens;
  readonly negative: BranchTokens;
}

/**
 * Parses and tokenizes what both branches are told. Without guidance the negative branch is empty. A branch without negative prompt is
 * told an empty text, whatever the model's `force_zeros_for_empty_prompt`, as the reference has it. `at` is the field that holds the prompts.
 * @throws SdxlError JOB_INVALID for a weight that is no number
 */
export function weightedTokens({ parts }: Model, request: ImageRequest, at = 'spec'): WeightedTokens {
  const guided = request.guidanceScale > 1;
  const { prompt, prompt2, negativePrompt = '', negativePrompt2 } = request;
  const first = (text: string, field: string): TokenSequence => tokensOf(parts.textEncoder.tokenizer, text, field);
  const second = (text: string, field: string): TokenSequence => tokensOf(parts.textEncoder2.tokenizer, text, field);
  const positive = {
    first: first(prompt, `${at}.prompt`),
    second: prompt2 === undefined ? second(prompt, `${at}.prompt`) : second(prompt2, `${at}.prompt2`),
  };
  const none = { ids: [], weights: [] };
  const negative = guided
    ? {
        first: first(negativePrompt, `${at}.negativePrompt`),
        second:
          negativePrompt2 === undefined ? second(negativePrompt, `${at}.negativePrompt`) : second(negativePrompt2, `${at}.negativePrompt2`),
      }
    : { first: none, second: none };
  const room = parts.textEncoder.tokenizer.maxLength - 2;
  const longest = Math.max(...[positive, negative].flatMap((branch) => [branch.first.ids.length, branch.second.ids.length]));
  return { chunks: Math.max(1, Math.ceil(longest / room)), positive, negative };
}

/** How many tokens the UNet's context has for a request; `at` is the field its prompts stand in, for errors. */
export function contextLength(model: Model, request: ImageRequest, at?: string): number {
  const { maxLength } = model.parts.textEncoder.tokenizer;
  return request.promptSyntax === 'Weighted' ? weightedTokens(model, request, at).chunks * maxLength : maxLength;
}

/** Encodes one branch to `chunks` · 77 states; the pooled projection is that of the last chunk, as in the reference. */
export async function encodeWeighted(
  { parts }: Model,
  encoders: TextEncoders,
  { first, second }: BranchTokens,
  { chunks, clipSkip }: { readonly chunks: number; readonly clipSkip: number },
  signal: AbortSignal | undefined,
): Promise<PromptEmbedding> {
  const states1 = await encodeChunks(parts.textEncoder, encoders.textEncoder, first, chunks, clipSkip, signal);
  const states2 = await encodeChunks(parts.textEncoder2, encoders.textEncoder2, second, chunks, clipSkip, signal);
  return {
    promptEmbeds: concatFeatures(states1.states, states2.states),
    pooledPromptEmbeds: floatOutput(states2.last, 'text_embeds'),
  };
}

async function encodeChunks(
  encoder: TextEncoderParts,
  executor: Executor,
  { ids, weights }: TokenSequence,
  chunks: number,
  clipSkip: number,
  signal: AbortSignal | undefined,
): Promise<{ readonly states: Tensor<'f32'>; readonly last: Readonly<Record<string, Tensor>> }> {
  const { maxLength, bosId, eosId } = encoder.tokenizer;
  const room = maxLength - 2;
  let states: Tensor<'f32'> | undefined;
  let last: Readonly<Record<string, Tensor>> = {};
  for (let chunk = 0; chunk < chunks; chunk++) {
    const inputIds = new BigInt64Array(maxLength).fill(BigInt(eosId));
    inputIds.set([bosId, ...ids.slice(chunk * room, (chunk + 1) * room)].map(BigInt));
    last = await runTextEncoder(encoder, executor, inputIds, signal);
    const part = floatOutput(last, hiddenStatesOutput(clipSkip));
    const width = part.shape[2] ?? 0;
    states ??= float32([1, chunks * maxLength, width]);
    const weighted = weigh(part.data, width, [1, ...weights.slice(chunk * room, (chunk + 1) * room)]);
    states.data.set(weighted, chunk * maxLength * width);
  }
  if (states === undefined) throw new Error('a prompt of no chunks');
  return { states, last };
}

/** `states` `[positions, width]`; a position beyond the weights weighs 1. Weights are rounded to binary16, as in the reference. */
function weigh(states: Float32Array, width: number, weights: readonly number[]): Float32Array {
  const weighted = Float32Array.from(states);
  const base = states.subarray(states.length - width);
  weights.forEach((weight, position) => {
    const factor = float16ToFloat32(float32ToFloat16(Float32Array.of(weight)))[0] ?? 1;
    if (factor === 1) return;
    for (let column = 0; column < width; column++) {
      const anchor = base[column] ?? 0;
      const difference = Math.fround((states[position * width + column] ?? 0) - anchor);
      weighted[position * width + column] = anchor + Math.fround(difference * factor);
    }
  });
  return weighted;
}

/** BREAK fills the chunk with EOS; one where no chunk is begun has nothing to end. */
function tokensOf(tokenizer: ClipTokenizer, prompt: string, field: string): TokenSequence {
  const room = tokenizer.maxLength - 2;
  const ids: number[] = [];
  const weights: number[] = [];
  parseWeightedPrompt(prompt, field).forEach((section, index) => {
    if (index > 0) {
      const fill = (room - (ids.length % room)) % room;
      ids.push(...Array.from({ length: fill }, () => tokenizer.eosId));
      weights.push(...Array.from({ length: fill }, () => 1));
    }
    for (const { text, weight } of section) {
      const tokens = tokenizer.tokens(text);
      ids.push(...tokens);
      weights.push(...tokens.map(() => weight));
    }
  });
  return { ids, weights };
}
