/**
 * From a prompt to the ids of CLIP's text encoders: vocabulary, normalisation, byte pair encoding, truncation and padding, all
 * as the tokenizer folder says. Knows nothing of encoders, pipelines or prompts' meaning.
 */
export { ClipTokenizer, type TokenizedPrompt } from './clip-tokenizer.js';
export { eosPosition } from './eos-position.js';
