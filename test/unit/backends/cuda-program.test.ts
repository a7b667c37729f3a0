/**
 * What the CUDA planner makes of each network, run on the host and compared with diffusers: fusion, views, padding, memory that is used
 * again, stages and collectives are right if the numbers are. The device's own arithmetic is tested on a device.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { planProgram } from '../../../runtime/backends/cuda/plan/planner.js';
import { bindSymbols, partition, type Component, type Executor } from '../../../runtime/engine/index.js';
import { Model, planComponents } from '../../../runtime/pipeline/index.js';
import { encodePrompt } from '../../../runtime/pipeline/conditioning.js';
import { placeInMesh, worldSize, type Mesh } from '../../../runtime/parallel/index.js';
import { floatOutput } from '../../../runtime/pipeline/bands.js';
import { float32, type Tensor } from '../../../runtime/tensor/index.js';
import { fixture, readGolden, relativeError } from '../../support/fixtures.js';
import { tolerance, unetError, vaeError } from '../../support/networks.js';
import { wideAttention } from '../../support/wide-attention.js';
import { ProgramGang } from '../../support/program-gang.js';
import { onMesh } from '../../support/rank.js';
import { ProgramInterpreter, type Exchange } from '../../support/program-interpreter.js';

const model = fixture('random-sdxl');

/** Plans for the sizes of each run, as the device does, and interprets. */
function interpreted({ graph, weights, inputRates }: Component, exchange: Exchange): Executor {
  return {
    plan: partition(graph),
    run: async (inputs) => {
      const shapes = Object.fromEntries(Object.entries(inputs).map(([name, { shape }]) => [name, shape]));
      const program = planProgram({ graph, symbols: bindSymbols(graph, shapes), inputStages: inputRates });
      const interpreter = await ProgramInterpreter.open(program, weights, exchange);
      const outputs = await interpreter.run(inputs);
      return { outputs, timing: { totalSeconds: 0, computeSeconds: 0, exchangeSeconds: 0, exchanges: 0, sentBytes: 0 } };
    },
    displace: () => assert.fail('programs are synchronous'),
    close: () => Promise.resolve(),
  };
}

async function onRanks(
  mesh: Mesh,
  body: (rank: number, load: (component: Component) => Executor, opened: Model) => Promise<void>,
): Promise<void> {
  await using opened = await Model.open(model);
  const gang = new ProgramGang(worldSize(mesh));
  await Promise.all(
    Array.from({ length: worldSize(mesh) }, (_, rank) =>
      body(rank, (component) => interpreted(component, gang.exchange(rank, component.patchGroup)), opened),
    ),
  );
}

describe('planned networks against diffusers', () => {
  const meshes: readonly Mesh[] = [
    { cfg: 1, patch: 1 },
    { cfg: 1, patch: 2 },
  ];
  for (const mesh of meshes) {
    const name = `cfg ${String(mesh.cfg)} × patch ${String(mesh.patch)}`;
    it(`UNet, ${name}`, async () => {
      const golden = await readGolden('goldens/unet');
      await onRanks(mesh, async (rank, load, opened) => {
        const { components } = planComponents(opened, mesh, rank);
        const error = await unetError(load(components.unet), golden, mesh, rank, 'wide');
        assert.ok(error <= tolerance, `relative error ${String(error)}`);
      });
    });

    it(`VAE decoder, ${name}`, async () => {
      const golden = await readGolden('goldens/vae');
      await onRanks(mesh, async (rank, load, opened) => {
        const { components } = planComponents(opened, mesh, rank);
        const error = await vaeError(load(components.vaeDecoder), golden, mesh, rank, opened.parts.vae.config.scalingFactor, 'wide');
        assert.ok(error <= tolerance, `relative error ${String(error)}`);
      });
    });
  }

  it('UNet with a context of three chunks: the same one three times, which changes no attention', async () => {
    const golden = await readGolden('goldens/unet');
    const context = golden['wide.encoder_hidden_states'] ?? assert.fail();
    const [, tokens = 0, width = 0] = context.shape;
    const data = Float32Array.from([0, 1, 2].flatMap(() => [...context.data]));
    const long = { ...golden, 'wide.encoder_hidden_states': { ...context, shape: [1, 3 * tokens, width], data } };
    const mesh = { cfg: 1, patch: 1 };
    await onRanks(mesh, async (rank, load, opened) => {
      const { components } = planComponents(opened, mesh, rank);
      const error = await unetError(load(components.unet), long, mesh, rank, 'wide');
      assert.ok(error <= tolerance, `relative error ${String(error)}`);
    });
  });

  it('guidance branches on ranks of their own, each in bands', async () => {
    const golden = await readGolden('goldens/unet');
    const mesh = { cfg: 2, patch: 2 };
    await onRanks(mesh, async (rank, load, opened) => {
      const branch = placeInMesh(mesh, rank).cfgIndex;
      const own = Object.fromEntries(
        Object.entries(golden).map(([name, value]) => {
          if (!/^square\.(?!timestep|output)/u.test(name)) return [name, value];
          const size = value.data.length / 2;
          return [name, { ...value, shape: [1, ...value.shape.slice(1)], data: value.data.slice(branch * size, (branch + 1) * size) }];
        }),
      );
      const { components } = planComponents(opened, mesh, rank);
      const error = await unetError(load(components.unet), own, mesh, rank);
      assert.ok(error <= tolerance, `relative error ${String(error)}`);
    });
  });

  it('levels of odd rows and columns, which diffusers was compared with on ONNX', async () => {
    const golden = await readGolden('goldens/unet');
    const at = (name: string): Tensor<'f32'> => golden[`square.${name}`] ?? assert.fail(name);
    const [batch = 1, channels = 1, height = 1, width = 1] = at('sample').shape;
    const [rows, columns] = [height - 1, width - 3];
    const kept = at('sample').data.filter((_, index) => Math.floor(index / width) % height < rows && index % width < columns);
    const inputs = {
      ...Object.fromEntries(
        ['timestep', 'encoder_hidden_states', 'text_embeds', 'time_ids'].map((name): [string, Tensor] => [name, at(name)]),
      ),
      sample: float32([batch, channels, rows, columns], kept),
    };
    const mesh = { cfg: 1, patch: 1 };
    const [expected = assert.fail()] = await onMesh(model, mesh, async ({ components, load }) => {
      const { outputs } = await (await load(components.unet)).run(inputs);
      return floatOutput(outputs, 'out_sample');
    });
    assert.deepEqual(expected.shape, inputs.sample.shape);
    await onRanks(mesh, async (rank, load, opened) => {
      const { outputs } = await load(planComponents(opened, mesh, rank).components.unet).run(inputs);
      const error = relativeError(floatOutput(outputs, 'out_sample'), expected);
      assert.ok(error <= tolerance, `relative error ${String(error)}`);
    });
  });

  it('attention with a head too wide for fused kernels, a part of the queries at a time', async () => {
    const { graph, inputs, expected } = wideAttention(2, 200, 136, 264);
    const program = planProgram({ graph, symbols: {}, inputStages: {}, scoreBytes: 0 });
    assert.equal(program.operations.step.filter(({ kind }) => kind === 'softmax').length, 4);
    await using opened = await Model.open(model);
    const { components } = planComponents(opened, { cfg: 1, patch: 1 }, 0);
    const interpreter = await ProgramInterpreter.open(program, components.vaeDecoder.weights, () => assert.fail('alone'));
    const { y = assert.fail() } = await interpreter.run(inputs);
    assert.ok(relativeError(y, expected) <= tolerance);
  });

  it('text encoders', async () => {
    const golden = await readGolden('goldens/encoders');
    await onRanks({ cfg: 1, patch: 1 }, async (rank, load, opened) => {
      const { components } = planComponents(opened, { cfg: 1, patch: 1 }, rank);
      const encoders = { textEncoder: load(components.textEncoder), textEncoder2: load(components.textEncoder2) };
      const prompt = 'a red fox sleeping under an oak tree, autumn leaves';
      const { promptEmbeds, pooledPromptEmbeds } = await encodePrompt(opened, encoders, { prompt }, () => undefined, undefined);
      assert.ok(relativeError(promptEmbeds, golden['fox.prompt_embeds'] ?? assert.fail()) <= tolerance);
      assert.ok(relativeError(pooledPromptEmbeds, golden['fox.2.pooled'] ?? assert.fail()) <= tolerance);
    });
  });
});
