/** The four networks of a model as the graphs one rank of a mesh runs. */
import { createHash } from 'node:crypto';
import type { Component, InputRate } from '../engine/index.js';
import { SdxlError } from '../errors/index.js';
import { printGraph, verify, type Graph } from '../graph/index.js';
import { buildClipText, buildUnet, buildVaeDecoder } from '../models/index.js';
import { decodeMesh, placeInMesh, shard, type Mesh } from '../parallel/index.js';
import { componentSizes, type ComponentName, type ImageSize } from './component-sizes.js';
import type { Model, TextEncoderParts } from './model.js';

/** What the UNet is conditioned on stays the same over an image; the timesteps are those of the schedule. */
export const unetInputRates: Readonly<Record<string, InputRate>> = {
  encoder_hidden_states: 'prompt',
  text_embeds: 'prompt',
  time_ids: 'prompt',
  timestep: 'timestep',
};

export type ModelComponents = Readonly<Record<ComponentName, Component>>;

export interface ComponentPlan {
  readonly components: ModelComponents;
  /** Equal on every rank that runs the same graphs; compared at rendezvous. */
  readonly digest: string;
}

export interface TextEncoderOptions {
  /** Layers of both text encoders that a job leaves out at their end, beyond the last one. */
  readonly clipSkip?: number | undefined;
}

/**
 * Builds and shards every network. Text encoders run whole on each rank; the VAE decodes bands over all ranks. `size` is what images
 * are made at, for backends that tune for it.
 */
export function planComponents(
  model: Model,
  mesh: Mesh,
  rank: number,
  size?: ImageSize,
  { clipSkip = 0 }: TextEncoderOptions = {},
): ComponentPlan {
  const { textEncoder, textEncoder2, unet, vae } = model.parts;
  const { patchGroup } = placeInMesh(mesh, rank);
  const decodeGroup = placeInMesh(decodeMesh(mesh), rank).patchGroup;
  const sizes = size === undefined ? undefined : componentSizes(model, mesh, size);
  const components: ModelComponents = {
    textEncoder: {
      graph: clip(textEncoder, 'text_encoder', clipSkip),
      weights: textEncoder.weights,
      patchGroup: [rank],
      inputRates: {},
      needsRange: false,
      sizes: sizes?.textEncoder,
    },
    textEncoder2: {
      graph: clip(textEncoder2, 'text_encoder_2', clipSkip),
      weights: textEncoder2.weights,
      patchGroup: [rank],
      inputRates: {},
      needsRange: false,
      sizes: sizes?.textEncoder2,
    },
    unet: {
      graph: shard(verified(buildUnet(unet.config)), mesh),
      weights: unet.weights,
      patchGroup,
      inputRates: unetInputRates,
      needsRange: false,
      sizes: sizes?.unet,
    },
    vaeDecoder: {
      graph: shard(verified(buildVaeDecoder(vae.config)), decodeMesh(mesh)),
      weights: vae.weights,
      patchGroup: decodeGroup,
      inputRates: {},
      needsRange: vae.config.forceUpcast,
      sizes: sizes?.vaeDecoder,
    },
  };
  const digest = createHash('sha256');
  for (const { graph } of componentList(components)) digest.update(printGraph(graph));
  return { components, digest: digest.digest('hex') };
}

/** @throws SdxlError JOB_INVALID where an encoder has no layer left */
export function checkClipSkip({ parts: { textEncoder, textEncoder2 } }: Model, clipSkip: number): void {
  const layers = [textEncoder.config.layers, textEncoder2.config.layers];
  const most = Math.min(...layers) - 1;
  if (clipSkip <= most) return;
  throw new SdxlError(
    'JOB_INVALID',
    `spec.clipSkip is ${String(clipSkip)}, and the model's text encoders have ${layers.join(' and ')} layers: at most ${String(most)} can be skipped`,
    { fields: { clipSkip, most } },
  );
}

/** Every component, in the order an image passes through them. */
export function componentList({ textEncoder, textEncoder2, unet, vaeDecoder }: ModelComponents): readonly Component[] {
  return [textEncoder, textEncoder2, unet, vaeDecoder];
}

/** Older transformers prefix every key with `text_model.`; newer ones may not. */
function clip(parts: TextEncoderParts, name: string, skip: number): Graph {
  const prefix = 'text_model.';
  const prefixed = parts.weights.has(`${prefix}embeddings.token_embedding.weight`);
  return verified(buildClipText(parts.config, name, prefixed ? prefix : '', skip));
}

function verified(graph: Graph): Graph {
  verify(graph);
  return graph;
}
