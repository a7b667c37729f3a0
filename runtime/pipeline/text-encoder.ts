/** One run of a text encoder. */
import type { Executor } from '../engine/index.js';
import { float32, int64, tensor, type Tensor } from '../tensor/index.js';
import { eosPosition } from '../tokenizer/index.js';
import type { TextEncoderParts } from './model.js';

export interface TextEncoders {
  readonly textEncoder: Executor;
  readonly textEncoder2: Executor;
}

/** The outputs for one row of ids, BOS to padding. */
export async function runTextEncoder(
  parts: TextEncoderParts,
  executor: Executor,
  inputIds: BigInt64Array,
  signal: AbortSignal | undefined,
): Promise<Readonly<Record<string, Tensor>>> {
  const inputs: Record<string, Tensor> = { input_ids: tensor('i64', [1, inputIds.length], inputIds) };
  if (parts.config.withProjection) inputs['eos_positions'] = int64([1], [eosPosition(inputIds, parts.config.eosTokenId)]);
  const { outputs } = await executor.run(inputs, signal);
  return outputs;
}

/** `[1, n, a]` and `[1, n, b]` → `[1, n, a + b]`. */
export function concatFeatures(a: Tensor<'f32'>, b: Tensor<'f32'>): Tensor<'f32'> {
  const [, tokens = 0, widthA = 0] = a.shape;
  const widthB = b.shape[2] ?? 0;
  const joined = float32([1, tokens, widthA + widthB]);
  for (let token = 0; token < tokens; token++) {
    joined.data.set(a.data.subarray(token * widthA, (token + 1) * widthA), token * (widthA + widthB));
    joined.data.set(b.data.subarray(token * widthB, (token + 1) * widthB), token * (widthA + widthB) + widthA);
  }
  return joined;
}
