/** What is under way while ranks compute: it is waited for by nobody, it ends before the next image begins, and its failure is not lost. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Communicator, Exchange } from '../../../runtime/collectives/index.js';
import type { Executor, RunKind } from '../../../runtime/engine/index.js';
import { SdxlError } from '../../../runtime/errors/index.js';
import { displacementOf, type PatchMode } from '../../../runtime/parallel/index.js';
import { bandInputs, floatOutput } from '../../../runtime/pipeline/bands.js';
import type { Tensor } from '../../../runtime/tensor/index.js';
import { AlteredCommunicator } from '../../support/altered-communicator.js';
import { fixture, readGolden } from '../../support/fixtures.js';
import { onMesh } from '../../support/rank.js';

const model = fixture('random-sdxl');
const mesh = { cfg: 1, patch: 2 };

/** Holds what it is told to hold until it is released. */
class HoldingCommunicator extends AlteredCommunicator {
  holds: (operation: string) => boolean = () => false;
  readonly held: string[] = [];
  sent = 0;
  #release: ((failure?: Error) => void)[] = [];

  override async exchange(exchange: Exchange, signal?: AbortSignal): Promise<void> {
    this.sent++;
    const holds = this.holds(exchange.operation);
    await super.exchange(exchange, signal);
    if (!holds) return;
    this.held.push(`${exchange.operation}#${String(exchange.tag)}`);
    await new Promise<void>((resolve, reject) => {
      this.#release.push((failure) => {
        if (failure === undefined) resolve();
        else reject(failure);
      });
    });
  }

  release(failure?: Error): void {
    for (const release of this.#release) release(failure);
    this.#release = [];
  }
}

interface Unet {
  readonly executor: Executor;
  readonly communicator: HoldingCommunicator;
  readonly inputs: Readonly<Record<string, Tensor>>;
}

async function withUnet(body: (unet: Unet) => Promise<void>): Promise<void> {
  const golden = await readGolden('goldens/unet');
  const at = (name: string): Tensor<'f32'> => golden[`square.${name}`] ?? assert.fail(name);
  const holders = new Map<number, HoldingCommunicator>();
  const wrap = (inner: Communicator): Communicator => {
    const holder = new HoldingCommunicator(inner);
    holders.set(inner.rank, holder);
    return holder;
  };
  await onMesh(
    model,
    mesh,
    async ({ components, load, rank }) => {
      const inputs = {
        ...bandInputs('sample', at('sample'), mesh, rank),
        timestep: at('timestep'),
        encoder_hidden_states: at('encoder_hidden_states'),
        text_embeds: at('text_embeds'),
        time_ids: at('time_ids'),
      };
      await body({ executor: await load(components.unet), communicator: holders.get(rank) ?? assert.fail(), inputs });
    },
    { wrap },
  );
}

function displacement(mode: PatchMode): NonNullable<ReturnType<typeof displacementOf>> {
  return displacementOf(mode) ?? assert.fail();
}

describe('exchanges that lag', () => {
  it('are waited for by no displaced run: it ends though none of them does', async () => {
    await withUnet(async ({ executor, communicator, inputs }) => {
      const image = executor.displace(displacement('CorrectedAsyncGn'));
      await image.run(inputs, 'fresh');
      communicator.holds = (operation) => operation !== 'gather';
      const { timing } = await image.run(inputs, 'displaced');
      // All but the gather of the result.
      assert.equal(communicator.held.length, timing.exchanges - 1);
      communicator.holds = () => false;
      communicator.release();
      await image.run(inputs, 'last');
      await image.end();
    });
  });

  it('are waited for by the run after, where it needs them', async () => {
    await withUnet(async ({ executor, communicator, inputs }) => {
      const image = executor.displace(displacement('StaleGn'));
      await image.run(inputs, 'fresh');
      communicator.holds = (operation) => operation !== 'gather';
      await image.run(inputs, 'displaced');
      communicator.holds = () => false;
      const next = image.run(inputs, 'displaced').then(() => 'ended');
      const patience = new Promise((resolve) => setTimeout(resolve, 200, 'waiting'));
      assert.equal(await Promise.race([next, patience]), 'waiting');
      communicator.release();
      assert.equal(await next, 'ended');
      await image.end();
    });
  });

  it('have all ended when the image has: after a last run at once, else once they are through', async () => {
    await withUnet(async ({ executor, communicator, inputs }) => {
      for (const kinds of [['fresh', 'displaced', 'last'], ['fresh', 'displaced'], ['fresh']] satisfies RunKind[][]) {
        const image = executor.displace(displacement('CorrectedAsyncGn'));
        const outputs: Tensor[] = [];
        for (const kind of kinds) outputs.push(floatOutput((await image.run(inputs, kind)).outputs, 'out_sample'));
        await image.end();
        // Nothing of the image before is left: equal inputs give equal outputs from the first run on.
        const { outputs: fresh } = await executor.run(inputs);
        assert.deepEqual(outputs[0], floatOutput(fresh, 'out_sample'));
      }
      assert.equal(communicator.held.length, 0);
    });
  });

  it('a last run sends the result alone; frozen ones are never sent', async () => {
    await withUnet(async ({ executor, inputs }) => {
      const fresh = (await executor.run(inputs)).timing.exchanges;
      const sent = async (mode: PatchMode): Promise<number[]> => {
        const image = executor.displace(displacement(mode));
        const counts: number[] = [];
        for (const kind of ['fresh', 'displaced', 'last'] as const) counts.push((await image.run(inputs, kind)).timing.exchanges);
        await image.end();
        return counts;
      };
      assert.deepEqual(await sent('StaleGn'), [fresh, fresh, 1]);
      assert.deepEqual(await sent('NoSync'), [fresh, 1, 1]);
    });
  });

  it('that fail between two runs fail the next, with their own error', async () => {
    await withUnet(async ({ executor, communicator, inputs }) => {
      const image = executor.displace(displacement('StaleGn'));
      await image.run(inputs, 'fresh');
      communicator.holds = (operation) => operation === 'halo';
      await image.run(inputs, 'displaced');
      communicator.release(new SdxlError('PEER_LOST', 'rank 1 is lost', { fields: { rank: 1 } }));
      await assert.rejects(image.run(inputs, 'displaced'), { code: 'PEER_LOST', message: 'rank 1 is lost' });
      await assert.rejects(image.end(), { code: 'PEER_LOST' });
    });
  });

  it('that fail while a run waits for them end that run', async () => {
    await withUnet(async ({ executor, communicator, inputs }) => {
      const image = executor.displace(displacement('StaleGn'));
      await image.run(inputs, 'fresh');
      communicator.holds = (operation) => operation === 'key_value';
      await image.run(inputs, 'displaced');
      const next = image.run(inputs, 'displaced');
      const refused = assert.rejects(next, { code: 'PEER_LOST', message: 'rank 1 is lost' });
      await new Promise((resolve) => setTimeout(resolve, 100));
      communicator.release(new SdxlError('PEER_LOST', 'rank 1 is lost', { fields: { rank: 1 } }));
      await refused;
    });
  });
});

describe('the state of an image', () => {
  it('begins fresh, keeps its size, and there is one at a time', async () => {
    await withUnet(async ({ executor, inputs }) => {
      const image = executor.displace(displacement('StaleGn'));
      await assert.rejects(image.run(inputs, 'displaced'), /first run .* must be fresh/u);
      assert.throws(() => executor.displace(displacement('StaleGn')), /have not ended/u);
      await image.run(inputs, 'fresh');
      await image.end();
      await image.end();
      await assert.rejects(image.run(inputs, 'fresh'), /have ended/u);
      await executor.displace(displacement('StaleGn')).end();
    });
  });
});
