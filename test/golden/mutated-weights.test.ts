/** The gates fail where a single bias or norm's affine is dropped. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { Component, Executor } from '../../runtime/engine/index.js';
import type { Tensor } from '../../runtime/tensor/index.js';
import { SafetensorsFile } from '../../runtime/weights/index.js';
import { fixture, readGolden } from '../support/fixtures.js';
import { tolerance, unetError, vaeError } from '../support/networks.js';
import { onMesh } from '../support/rank.js';

const model = fixture('random-sdxl');

describe('dropping one bias or affine fails the gate', () => {
  const networks = [
    { name: 'unet', folder: 'unet', golden: 'unet' },
    { name: 'vaeDecoder', folder: 'vae', golden: 'vae' },
  ] as const;
  for (const { name, folder, golden: goldenName } of networks) {
    it(`${name}: every vector of its weights, on one rank`, async (t) => {
      const golden = await readGolden(`goldens/${goldenName}`);
      await using file = await SafetensorsFile.open(join(model, folder, 'diffusion_pytorch_model.safetensors'));
      const [survived = ['no rank']] = await onMesh(model, { cfg: 1, patch: 1 }, async ({ components, load, model: opened, mesh }) => {
        const component = components[name];
        const keys = component.graph.weights.filter(({ shape }) => shape.length === 1).map(({ key }) => key);
        const vectors: Record<string, Tensor<'f32'>> = {};
        for (const key of keys) vectors[key] = await file.readFloat32(key);
        const executor = await load(withInputs(component, keys));
        const scale = opened.parts.vae.config.scalingFactor;
        const error = (changed: Readonly<Record<string, Tensor>>): Promise<number> => {
          const mutated: Pick<Executor, 'run'> = { run: (inputs) => executor.run({ ...inputs, ...vectors, ...changed }) };
          return name === 'unet' ? unetError(mutated, golden, mesh, 0) : vaeError(mutated, golden, mesh, 0, scale);
        };
        assert.ok((await error({})) <= tolerance, 'the unharmed run passes');
        const kept: string[] = [];
        const droppable = keys.filter((key) => !isInvariant(key));
        t.diagnostic(`${String(droppable.length)} vectors`);
        for (const key of droppable) {
          const vector = vectors[key] ?? assert.fail(key);
          if ((await error({ [key]: dropped(key, vector) })) <= tolerance) kept.push(key);
        }
        return kept;
      });
      assert.deepEqual(survived, []);
    });
  }
});

/** The component with these weights as inputs, which change from run to run without a new session. */
function withInputs(component: Component, keys: readonly string[]): Component {
  const { graph } = component;
  const [moved, weights] = [true, false].map((moves) => graph.weights.filter(({ key }) => keys.includes(key) === moves));
  const inputs = [...graph.inputs, ...(moved ?? []).map(({ key, value }) => ({ name: key, value }))];
  return { ...component, graph: { ...graph, inputs, weights: weights ?? [] } };
}

/** The value under which a vector's term drops out: 1 for gammas, 0 for biases. */
function dropped(key: string, vector: Tensor<'f32'>): Tensor<'f32'> {
  return { ...vector, data: vector.data.map(() => (key.endsWith('.bias') ? 0 : 1)) };
}

/** The bias of keys adds the same number to all of a query's scores, and softmax takes no notice of that. */
function isInvariant(key: string): boolean {
  return key.endsWith('.to_k.bias');
}
