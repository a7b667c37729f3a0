/**
 * The displaced steps that the CUDA planner makes, run on the host against the oracle of displaced runs: what lies where, in which half of
 * the memory, who reads and who writes it. What is sent ahead is read and arrives at once, or at the latest a device may do it: both must
 * give the same, or an operation touches what is under way.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { planProgram } from '../../../runtime/backends/cuda/plan/planner.js';
import type { Communicator } from '../../../runtime/collectives/index.js';
import { bindSymbols } from '../../../runtime/engine/index.js';
import { displacementOf, patchModes, type Mesh, type PatchMode } from '../../../runtime/parallel/index.js';
import { floatOutput } from '../../../runtime/pipeline/bands.js';
import type { Tensor } from '../../../runtime/tensor/index.js';
import { movingInputs, OracleCommunicator } from '../../support/displaced-oracle.js';
import { fixture, readGolden, relativeError } from '../../support/fixtures.js';
import { tolerance } from '../../support/networks.js';
import { ProgramGang } from '../../support/program-gang.js';
import { ProgramInterpreter, type Arrival } from '../../support/program-interpreter.js';
import { onMesh } from '../../support/rank.js';

type Outputs = readonly Tensor<'f32'>[];

/** Of rank 0: the oracle's, the program's, and those of runs that are all synchronous. */
async function compare(
  mesh: Mesh,
  mode: PatchMode,
  { arrival, name, runs }: { readonly arrival: Arrival; readonly name: string; readonly runs: number },
): Promise<{ readonly oracle: Outputs; readonly found: Outputs; readonly synchronous: Outputs }> {
  const golden = await readGolden('goldens/unet');
  const displacement = displacementOf(mode) ?? assert.fail();
  const oracles = new Map<number, OracleCommunicator>();
  const wrap = (inner: Communicator): Communicator => {
    const oracle = new OracleCommunicator(inner);
    oracles.set(inner.rank, oracle);
    return oracle;
  };
  const gang = new ProgramGang(mesh.cfg * mesh.patch);
  const byRank = await onMesh(
    fixture('random-sdxl'),
    mesh,
    async ({ components: { unet }, load, rank }) => {
      const inputs = (run: number): Readonly<Record<string, Tensor>> => movingInputs(golden, run, mesh, rank, name);
      const executor = await load(unet);
      const communicator = oracles.get(rank) ?? assert.fail();
      const [oracle, synchronous, found]: Tensor<'f32'>[][] = [[], [], []];
      for (let run = 0; run < runs; run++) {
        communicator.displacement = run === 0 ? undefined : displacement;
        oracle?.push(floatOutput((await executor.run(inputs(run))).outputs, 'out_sample'));
      }
      communicator.displacement = undefined;
      for (let run = 0; run < runs; run++) synchronous?.push(floatOutput((await executor.run(inputs(run))).outputs, 'out_sample'));

      const shapes = Object.fromEntries(Object.entries(inputs(0)).map(([input, { shape }]) => [input, shape]));
      const program = planProgram({
        graph: unet.graph,
        symbols: bindSymbols(unet.graph, shapes),
        inputStages: unet.inputRates,
        displaced: { displacement, position: unet.patchGroup.indexOf(rank) },
      });
      const interpreter = await ProgramInterpreter.open(program, unet.weights, gang.exchange(rank, unet.patchGroup), arrival);
      for (let run = 0; run < runs; run++) {
        const step = run === 0 ? 'synchronous' : run % 2 === 1 ? 0 : 1;
        found?.push(floatOutput(await interpreter.run(inputs(run), step), 'out_sample'));
      }
      return { oracle: oracle ?? [], found: found ?? [], synchronous: synchronous ?? [] };
    },
    { wrap },
  );
  return byRank[0] ?? assert.fail();
}

describe('displaced steps as they are planned', () => {
  // `square` has two guidance branches, whose keys are copied among those of the peers; with one they are written there at once.
  const cases = [
    { mode: 'CorrectedAsyncGn', arrival: 'late', name: 'square', cfg: 1, patch: 2, runs: 4 },
    { mode: 'CorrectedAsyncGn', arrival: 'at once', name: 'wide', cfg: 1, patch: 2, runs: 4 },
    { mode: 'SyncGn', arrival: 'late', name: 'wide', cfg: 1, patch: 2, runs: 3 },
    { mode: 'StaleGn', arrival: 'at once', name: 'square', cfg: 1, patch: 2, runs: 3 },
    { mode: 'SeparateGn', arrival: 'late', name: 'wide', cfg: 1, patch: 2, runs: 3 },
    { mode: 'NoSync', arrival: 'late', name: 'square', cfg: 1, patch: 2, runs: 3 },
    { mode: 'StaleGn', arrival: 'late', name: 'tall', cfg: 1, patch: 4, runs: 3 },
    { mode: 'CorrectedAsyncGn', arrival: 'late', name: 'wide', cfg: 2, patch: 2, runs: 3 },
  ] as const;
  for (const { mode, arrival, name, cfg, patch, runs } of cases) {
    it(`${mode}, cfg ${String(cfg)} × patch ${String(patch)}, ${name}, arriving ${arrival}`, async (t) => {
      const { oracle, found, synchronous } = await compare({ cfg, patch }, mode, { arrival, name, runs });
      const against = (outputs: Outputs): number[] => outputs.map((output, run) => relativeError(output, oracle[run] ?? assert.fail()));
      const [errors, moved] = [against(found), against(synchronous)];
      t.diagnostic(
        `${errors.map((error) => error.toExponential(1)).join(', ')}; synchronous: ${moved.map((error) => error.toExponential(1)).join(', ')}`,
      );
      assert.ok(errors.length === runs && errors.every((error) => error <= tolerance));
      // Far from what a synchronous step would have made: the comparison can fail.
      assert.ok(moved.slice(1).every((error) => error > 3 * tolerance));
    });
  }

  it('every mode is tried', () => {
    assert.deepEqual(new Set(cases.map(({ mode }) => mode)), new Set(patchModes.filter((mode) => mode !== 'Synchronous')));
  });
});
