/** CLIP's text encoders as graphs (Radford et al. 2021, section 2.4; transformers CLIPTextModel and CLIPTextModelWithProjection). */
import { GraphBuilder, type Graph, type Value } from '../graph/index.js';
import type { ClipTextConfig } from './clip-config.js';
import { layerNorm, linear } from './layers.js';

/**
 * Inputs: `input_ids` `[batch, positions]` i64 and, with a projection, `eos_positions` `[batch]` i64.
 * Outputs: `hidden_states` `[batch, positions, hidden]`, the penultimate layer's without final norm, as SDXL takes it, and with
 * a projection `text_embeds` `[batch, projectionDim]`. Without one the last layer is never built. Where `skip` layers are left out,
 * the states before them are a further output, named by {@link hiddenStatesOutput}. `keyPrefix` is where the weights' keys start
 * (`text_model.` in most files, empty in some).
 */
export function buildClipText(config: ClipTextConfig, name: string, keyPrefix: string, skip = 0): Graph {
  const b = new GraphBuilder(name);
  const batch = b.symbol('batch');
  const positions = config.maxPositions;
  const ids = b.input('input_ids', [batch, positions], 'i64');
  const embeddings = `${keyPrefix}embeddings`;
  const tokens = b.embedding(embeddings, b.weight(`${embeddings}.token_embedding.weight`, [config.vocabSize, config.hiddenSize]), ids);
  const table = b.weight(`${embeddings}.position_embedding.weight`, [positions, config.hiddenSize]);
  let h = b.add(`${embeddings}.add`, tokens, b.reshape(`${embeddings}.positions`, table, [1, positions, config.hiddenSize]));

  const layers = config.layers - 1;
  if (skip > layers) throw new Error(`${String(skip)} layers skipped of ${String(layers)}`);
  for (let layer = 0; layer < layers; layer++) {
    if (skip > 0 && layer === layers - skip) b.output(hiddenStatesOutput(skip), h);
    h = encoderLayer(b, config, `${keyPrefix}encoder.layers.${String(layer)}`, h);
  }
  b.output(hiddenStatesOutput(0), h);
  if (config.withProjection) {
    h = encoderLayer(b, config, `${keyPrefix}encoder.layers.${String(config.layers - 1)}`, h);
    const normed = layerNorm(b, `${keyPrefix}final_layer_norm`, h, config.normEpsilon);
    const eos = b.selectToken('pooled', normed, b.input('eos_positions', [batch], 'i64'));
    b.output('text_embeds', linear(b, 'text_projection', eos, config.projectionDim, { bias: false }));
  }
  return b.finish();
}

/** The output that holds the states without the last `skip` layers before the penultimate one's end. */
export function hiddenStatesOutput(skip: number): string {
  return skip === 0 ? 'hidden_states' : `hidden_states.skip_${String(skip)}`;
}

function encoderLayer(b: GraphBuilder, config: ClipTextConfig, at: string, x: Value): Value {
  const normed = layerNorm(b, `${at}.layer_norm1`, x, config.normEpsilon);
  const project = (name: string): Value => linear(b, `${at}.self_attn.${name}`, normed, config.hiddenSize);
  const scale = 1 / Math.sqrt(config.hiddenSize / config.heads);
  const attended = b.attention(`${at}.self_attn`, project('q_proj'), project('k_proj'), project('v_proj'), {
    heads: config.heads,
    scale,
    causal: true,
  });
  const h = b.add(`${at}.add1`, linear(b, `${at}.self_attn.out_proj`, attended, config.hiddenSize), x);
  const mlp = linear(b, `${at}.mlp.fc1`, layerNorm(b, `${at}.layer_norm2`, h, config.normEpsilon), config.intermediateSize);
  return b.add(`${at}.add2`, linear(b, `${at}.mlp.fc2`, b.activation(`${at}.mlp.act`, config.activation, mlp), config.hiddenSize), h);
}
