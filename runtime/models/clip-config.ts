/** CLIPTextModel's and CLIPTextModelWithProjection's config.json. */
import { ConfigReader, type JsonObject } from './config.js';

export interface ClipTextConfig {
  readonly withProjection: boolean;
  readonly vocabSize: number;
  readonly maxPositions: number;
  readonly hiddenSize: number;
  readonly intermediateSize: number;
  readonly layers: number;
  readonly heads: number;
  readonly projectionDim: number;
  readonly activation: 'gelu' | 'quickGelu';
  readonly normEpsilon: number;
  /** Where the pooled state is taken; 2 is the legacy value that means argmax of the ids. */
  readonly eosTokenId: number;
}

export function parseClipTextConfig(json: JsonObject, source: string): ClipTextConfig {
  const read = new ConfigReader(json, source);
  const [architecture] = read.listOf('architectures', ['CLIPTextModel', 'CLIPTextModelWithProjection'], 1);
  read.only('model_type', 'clip_text_model');
  const hiddenSize = read.integer('hidden_size', 512);
  const config: ClipTextConfig = {
    withProjection: architecture === 'CLIPTextModelWithProjection',
    vocabSize: read.integer('vocab_size', 49408),
    maxPositions: read.integer('max_position_embeddings', 77),
    hiddenSize,
    intermediateSize: read.integer('intermediate_size', 2048),
    layers: read.integer('num_hidden_layers', 12),
    heads: read.integer('num_attention_heads', 8),
    projectionDim: read.integer('projection_dim', 512),
    activation: read.oneOf('hidden_act', ['quick_gelu', 'gelu'], 'quick_gelu') === 'gelu' ? 'gelu' : 'quickGelu',
    normEpsilon: read.number('layer_norm_eps', 1e-5),
    eosTokenId: read.integer('eos_token_id', 49407),
  };
  if (config.eosTokenId >= config.vocabSize) read.refuse('eos_token_id', `an id below vocab_size ${String(config.vocabSize)}`);
  if (config.layers < 2) read.refuse('num_hidden_layers', 'at least 2 (SDXL reads the penultimate layer)');
  if (hiddenSize % config.heads !== 0) read.refuse('num_attention_heads', `a divisor of hidden_size ${String(hiddenSize)}`);
  // Training only, token ids the tokenizer owns, or storage hints: the weights' own dtype counts.
  read.ignore('attention_dropout', 'dropout', 'initializer_factor', 'initializer_range', 'bos_token_id', 'pad_token_id');
  read.ignore('torch_dtype', 'dtype', 'transformers_version', 'use_cache');
  read.finish();
  return config;
}
