/**
 * Displaced runs against an oracle of their own (test/support/displaced-oracle.ts), which shares nothing with the way they are made. They
 * must agree bit for bit.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Communicator } from '../../runtime/collectives/index.js';
import type { RunResult } from '../../runtime/engine/index.js';
import { displacementOf, patchModes, type Mesh, type PatchMode } from '../../runtime/parallel/index.js';
import { floatOutput } from '../../runtime/pipeline/bands.js';
import type { Tensor } from '../../runtime/tensor/index.js';
import { movingInputs, OracleCommunicator } from '../support/displaced-oracle.js';
import { fixture, readGolden, relativeError } from '../support/fixtures.js';
import { onMesh } from '../support/rank.js';

const model = fixture('random-sdxl');
const runs = 4;

/** Outputs of `runs` runs of the UNet on rank 0: displaced ones, and the oracle's. */
async function compare(mesh: Mesh, mode: PatchMode): Promise<{ readonly displaced: Tensor<'f32'>[]; readonly oracle: Tensor<'f32'>[] }> {
  const golden = await readGolden('goldens/unet');
  const displacement = displacementOf(mode) ?? assert.fail();
  const oracles = new Map<number, OracleCommunicator>();
  const wrap = (inner: Communicator): Communicator => {
    const oracle = new OracleCommunicator(inner);
    oracles.set(inner.rank, oracle);
    return oracle;
  };
  const output = ({ outputs }: RunResult): Tensor<'f32'> => floatOutput(outputs, 'out_sample');
  const byRank = await onMesh(
    model,
    mesh,
    async ({ components, load, rank }) => {
      const executor = await load(components.unet);
      const oracle = oracles.get(rank) ?? assert.fail();
      const expected: Tensor<'f32'>[] = [];
      for (let run = 0; run < runs; run++) {
        oracle.displacement = run === 0 ? undefined : displacement;
        expected.push(output(await executor.run(movingInputs(golden, run, mesh, rank))));
      }
      oracle.displacement = undefined;
      const found: Tensor<'f32'>[] = [];
      const image = executor.displace(displacement);
      for (let run = 0; run < runs; run++) {
        const kind = run === 0 ? 'fresh' : run === runs - 1 ? 'last' : 'displaced';
        found.push(output(await image.run(movingInputs(golden, run, mesh, rank), kind)));
      }
      await image.end();
      return { displaced: found, oracle: expected };
    },
    { wrap },
  );
  return byRank[0] ?? assert.fail();
}

describe('displaced runs use exactly what the mode says', () => {
  for (const mode of patchModes.filter((name) => name !== 'Synchronous')) {
    it(`${mode}, two bands`, async (t) => {
      const { displaced, oracle } = await compare({ cfg: 1, patch: 2 }, mode);
      const errors = displaced.map((output, run) => relativeError(output, oracle[run] ?? assert.fail()));
      t.diagnostic(errors.map((error) => error.toExponential(1)).join(', '));
      // The oracle of corrected moments takes them apart by other formulas.
      const tolerance = mode === 'CorrectedAsyncGn' ? 1e-4 : 0;
      assert.ok(errors.every((error) => error <= tolerance));
    });
  }

  it('StaleGn and NoSync, four bands', async () => {
    for (const mode of ['StaleGn', 'NoSync'] as const) {
      const { displaced, oracle } = await compare({ cfg: 1, patch: 4 }, mode);
      displaced.forEach((output, run) => {
        assert.deepEqual(output, oracle[run]);
      });
    }
  });
});
