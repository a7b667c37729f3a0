/** Which token's state a CLIP text encoder pools. */
import { SdxlError } from '../errors/index.js';

/** The value that configurations of before transformers 4.31 carry, whatever the vocabulary; SDXL's are among them. */
const legacyEosTokenId = 2;

/**
 * The position that `CLIPTextModel` pools (transformers 5.23.0, models/clip/modeling_clip.py, CLIPTextTransformer.forward): for
 * the legacy `eos_token_id` 2 that of the largest id, else that of the first `eos_token_id`. The first one counts on ties.
 * @throws SdxlError TOKENIZER_INVALID where the id does not occur: encoder and tokenizer do not belong together.
 */
export function eosPosition(inputIds: BigInt64Array, eosTokenId: number): number {
  if (eosTokenId !== legacyEosTokenId) {
    const position = inputIds.indexOf(BigInt(eosTokenId));
    if (position >= 0) return position;
    throw new SdxlError(
      'TOKENIZER_INVALID',
      `the text encoder's eos_token_id ${String(eosTokenId)} is not among the prompt's ids: tokenizer and text encoder are of different models`,
      { fields: { eosTokenId } },
    );
  }
  let best = 0;
  inputIds.forEach((id, position) => {
    if (id > (inputIds[best] ?? 0n)) best = position;
  });
  return best;
}
