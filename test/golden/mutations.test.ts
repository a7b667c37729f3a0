/**
 * The gates fail where a single term is dropped: every payload of every exchange (halo, statistic, K/V shard), every bias and
 * every norm's affine. A gate that none of these can trip would prove nothing.
 */
import assert from 'node:assert/strict';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Communicator, Exchange } from '../../runtime/collectives/index.js';
import { bandInputs, joinBands } from '../../runtime/pipeline/bands.js';
import type { Component, Executor } from '../../runtime/engine/index.js';
import type { Mesh } from '../../runtime/parallel/index.js';
import type { Tensor } from '../../runtime/tensor/index.js';
import { SafetensorsFile, writeSafetensors } from '../../runtime/weights/index.js';
import { fixture, readGolden, relativeError } from '../support/fixtures.js';
import { onMesh, type Rank } from '../support/rank.js';

const model = fixture('random-sdxl');
/** The gate of networks.test.ts. */
const tolerance = 1e-4;

/** Zeroes one received part of one exchange, as if the peer's payload had been forgotten. */
class DroppingCommunicator implements Communicator {
  readonly rank: number;
  readonly worldSize: number;
  readonly failed: AbortSignal;
  readonly #inner: Communicator;
  /** Which exchange of the run, and which of its received parts; none at −1. */
  dropped = { exchange: -1, part: -1 };
  /** Received parts of each exchange since the last reset. */
  seen: { readonly operation: string; readonly parts: number }[] = [];

  constructor(inner: Communicator) {
    this.rank = inner.rank;
    this.worldSize = inner.worldSize;
    this.failed = inner.failed;
    this.#inner = inner;
  }

  async exchange(exchange: Exchange, signal?: AbortSignal): Promise<void> {
    await this.#inner.exchange(exchange, signal);
    const parts = exchange.receives.flatMap((message) => message.parts);
    if (this.seen.length === this.dropped.exchange) parts[this.dropped.part]?.fill(0);
    this.seen.push({ operation: exchange.operation, parts: parts.length });
  }

  barrier(signal?: AbortSignal): Promise<void> {
    return this.#inner.barrier(signal);
  }

  abort(error: Parameters<Communicator['abort']>[0]): Promise<void> {
    return this.#inner.abort(error);
  }

  close(): Promise<void> {
    return this.#inner.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

async function unetError(executor: Executor, golden: Record<string, Tensor<'f32'>>, mesh: Mesh, rank: number): Promise<number> {
  const at = (name: string): Tensor<'f32'> => golden[`square.${name}`] ?? assert.fail(name);
  const { outputs } = await executor.run({
    ...bandInputs('sample', at('sample'), mesh, rank),
    timestep: at('timestep'),
    encoder_hidden_states: at('encoder_hidden_states'),
    text_embeds: at('text_embeds'),
    time_ids: at('time_ids'),
  });
  return relativeError(joinBands(outputs['out_sample'] as Tensor<'f32'>, mesh), at('output'));
}

async function vaeError(
  executor: Executor,
  golden: Record<string, Tensor<'f32'>>,
  mesh: Mesh,
  rank: number,
  scale: number,
): Promise<number> {
  const latents = golden['square.latents'] ?? assert.fail();
  const scaled = { ...latents, data: latents.data.map((value) => value * scale) };
  const { outputs } = await executor.run(bandInputs('latents', scaled, mesh, rank));
  return relativeError(joinBands(outputs['image'] as Tensor<'f32'>, mesh), golden['square.image'] ?? assert.fail());
}

describe('dropping one payload of one exchange fails the gate', () => {
  for (const network of ['unet', 'vaeDecoder'] as const) {
    it(`${network}: every halo, statistic and K/V shard, received by either rank`, async (t) => {
      const golden = await readGolden(network === 'unet' ? 'unet' : 'vae');
      const mesh = { cfg: 1, patch: 2 };
      const droppers = new Map<number, DroppingCommunicator>();
      const wrap = (inner: Communicator): Communicator => {
        const dropper = new DroppingCommunicator(inner);
        droppers.set(inner.rank, dropper);
        return dropper;
      };
      const errorsOf = await onMesh(
        model,
        mesh,
        async ({ components, load, rank, model: opened }) => {
          const executor = await load(components[network]);
          const dropper = droppers.get(rank) ?? assert.fail();
          const run = async (): Promise<number> => {
            dropper.seen = [];
            return network === 'unet'
              ? unetError(executor, golden, mesh, rank)
              : vaeError(executor, golden, mesh, rank, opened.parts.vae.config.scalingFactor);
          };
          assert.ok((await run()) <= tolerance, 'the unharmed run passes');
          const exchanges = dropper.seen;
          const errors = new Map<string, number>();
          for (const victim of [0, 1]) {
            for (const [exchange, { operation, parts }] of exchanges.entries()) {
              for (let part = 0; part < parts; part++) {
                dropper.dropped = rank === victim ? { exchange, part } : { exchange: -1, part: -1 };
                errors.set(`rank ${String(victim)} loses part ${String(part)} of ${operation} #${String(exchange)}`, await run());
              }
            }
          }
          return errors;
        },
        { wrap },
      );
      const [first = new Map<string, number>(), second = new Map<string, number>()] = errorsOf;
      t.diagnostic(`${String(first.size)} mutations`);
      // What one rank loses before the last gather, both see; what it loses there, it alone does.
      const survived = [...first].filter(([mutation, error]) => !(error > tolerance || (second.get(mutation) ?? 0) > tolerance));
      // A convolution of stride 2 reads the row above its band, never the one below; both travel all the same.
      const harmless = survived.filter(([mutation]) => /^rank 0 loses part 0 of halo #/.test(mutation));
      assert.equal(harmless.length, network === 'unet' ? 2 : 0);
      assert.deepEqual(survived, harmless);
    });
  }
});

describe('dropping one bias or affine fails the gate', () => {
  const networks = [
    { name: 'unet', folder: 'unet', golden: 'unet' },
    { name: 'vaeDecoder', folder: 'vae', golden: 'vae' },
  ] as const;
  for (const { name, folder, golden: goldenName } of networks) {
    it(`${name}: every vector of its weights, on one rank`, async (t) => {
      const golden = await readGolden(goldenName);
      const vectors = await vectorKeys(folder);
      const survived: string[] = [];
      const directory = await mkdtemp(join(tmpdir(), 'sdxl-mutation-'));
      // Engines depend on where weights lie, not on their values: one build serves all.
      const cacheDirectory = join(directory, 'cache');
      const single = { cfg: 1, patch: 1 };
      try {
        await cp(model, directory, { recursive: true });
        for (const key of vectors) {
          await dropVector(folder, key, directory);
          const mutated = async ({ components, load, model: opened, mesh }: Rank): Promise<number> => {
            const component: Component = components[name];
            assert.ok(
              component.graph.weights.some((weight) => weight.key === key),
              `${key} is used`,
            );
            const executor = await load(component);
            const scale = opened.parts.vae.config.scalingFactor;
            return name === 'unet' ? unetError(executor, golden, mesh, 0) : vaeError(executor, golden, mesh, 0, scale);
          };
          const [error = 0] = await onMesh(directory, single, mutated, { cacheDirectory });
          if (error <= tolerance) survived.push(key);
        }
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
      t.diagnostic(`${String(vectors.length)} vectors`);
      assert.deepEqual(survived, []);
    });
  }
});

/**
 * Biases, gammas and betas of the networks that run. Left out: the bias of keys, which adds the same number to all of a query's
 * scores, and softmax takes no notice of that.
 */
async function vectorKeys(folder: string): Promise<string[]> {
  await using file = await SafetensorsFile.open(join(model, folder, 'diffusion_pytorch_model.safetensors'));
  const vectors = [...file.tensors.values()].filter(({ shape }) => shape.length === 1).map(({ name }) => name);
  return vectors.filter((name) => !/^(encoder|quant_conv)\.|\.to_k\.bias$/.test(name));
}

/** Writes the weights with one vector at the value under which its term drops out: 1 for gammas, 0 for biases. */
async function dropVector(folder: string, key: string, directory: string): Promise<void> {
  const path = join(folder, 'diffusion_pytorch_model.safetensors');
  await using file = await SafetensorsFile.open(join(model, path));
  const tensors = await Promise.all(
    [...file.tensors.values()].map(async ({ name, dtype, shape, sizeBytes }) => {
      const data = new Uint8Array(sizeBytes);
      await file.read(name, data);
      if (name === key) new Float32Array(data.buffer).fill(key.endsWith('.bias') ? 0 : 1);
      return { name, dtype, shape, data };
    }),
  );
  await writeSafetensors(join(directory, path), tensors);
}
