/**
 * Displaced runs against an oracle of their own: fresh runs whose communicator hands out what the peers sent in the run before. It
 * shares nothing with the way displaced runs are made (nothing overlaps, nothing is kept by the engine), and must agree bit for bit.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Communicator, Exchange } from '../../runtime/collectives/index.js';
import type { RunResult } from '../../runtime/engine/index.js';
import type { Displacement } from '../../runtime/graph/index.js';
import { displacementOf, patchModes, type Mesh, type PatchMode } from '../../runtime/parallel/index.js';
import { bandInputs, floatOutput } from '../../runtime/pipeline/bands.js';
import { float32, Generator, type Tensor } from '../../runtime/tensor/index.js';
import { fixture, readGolden, relativeError } from '../support/fixtures.js';
import { onMesh } from '../support/rank.js';

const model = fixture('random-sdxl');
const runs = 4;

/** Hands the exchanges of fresh runs to its subclass, which may change what was received. */
class OracleCommunicator implements Communicator {
  readonly rank: number;
  readonly worldSize: number;
  readonly failed: AbortSignal;
  /** Undefined: a fresh run. */
  displacement: Displacement | undefined;
  readonly #inner: Communicator;
  /** By tag: what peers sent and what this rank had in the run before, copied. */
  readonly #received = new Map<number, Uint8Array[]>();
  readonly #own = new Map<number, Uint8Array>();

  constructor(inner: Communicator) {
    this.rank = inner.rank;
    this.worldSize = inner.worldSize;
    this.failed = inner.failed;
    this.#inner = inner;
  }

  async exchange(exchange: Exchange, signal?: AbortSignal): Promise<void> {
    const { tag } = exchange;
    const ownMoments = Uint8Array.from(exchange.sends[0]?.parts[0] ?? []);
    await this.#inner.exchange(exchange, signal);
    const parts = exchange.receives.flatMap((message) => message.parts);
    const arrived = parts.map((part) => Uint8Array.from(part));
    const before = this.#received.get(tag);
    const timing = this.displacement?.timing[exchange.operation as keyof Displacement['timing']] ?? 'fresh';
    if (timing !== 'fresh') {
      parts.forEach((part, index) => {
        part.set(before?.[index] ?? assert.fail());
      });
    }
    if (timing !== 'frozen') this.#received.set(tag, arrived);
    if (this.displacement !== undefined && exchange.operation.startsWith('group_norm')) {
      for (const { parts: fromPeer } of exchange.receives) this.#moments(fromPeer[0] ?? assert.fail(), ownMoments, this.#own.get(tag));
    }
    this.#own.set(tag, ownMoments);
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

  /**
   * The engine merges what arrived with its own fresh moments (m, v). `corrected`, for two ranks: what the peer must have sent so that
   * mean M' and variance V' of the correction come out, M' and V' by E[x] and E[x²] as DistriFusion has them.
   */
  #moments(peer: Uint8Array, own: Uint8Array, ownBefore: Uint8Array | undefined): void {
    const rule = this.displacement?.moments;
    if (rule === 'own') peer.set(own);
    if (rule !== 'corrected') return;
    const [stale, fresh, old] = [peer, own, ownBefore ?? assert.fail()].map((bytes) => new Float32Array(Uint8Array.from(bytes).buffer));
    assert.ok(stale !== undefined && fresh !== undefined && old !== undefined);
    const wanted = stale.map((_, index) => {
      if (index % 2 === 1) return 0;
      const at = (values: Float32Array): [number, number] => [values[index] ?? 0, values[index + 1] ?? 0];
      const [[peerMean, peerVariance], [mean, variance], [oldMean, oldVariance]] = [at(stale), at(fresh), at(old)];
      const square = (oldVariance + oldMean ** 2 + peerVariance + peerMean ** 2) / 2 + variance + mean ** 2 - oldVariance - oldMean ** 2;
      const wholeMean = (oldMean + peerMean) / 2 + mean - oldMean;
      const whole = square - wholeMean ** 2 < 0 ? variance : square - wholeMean ** 2;
      const apart = 2 * wholeMean - mean;
      stale[index + 1] = 2 * whole - variance - (mean - apart) ** 2 / 2;
      return apart;
    });
    for (let index = 0; index < wanted.length; index += 2) stale[index] = wanted[index] ?? 0;
    peer.set(new Uint8Array(stale.buffer));
  }
}

type Inputs = Readonly<Record<string, Tensor>>;

/** The golden's inputs, with noise that changes from run to run as latents do. */
function inputsOf(golden: Readonly<Record<string, Tensor<'f32'>>>, run: number, mesh: Mesh, rank: number): Inputs {
  const at = (name: string): Tensor<'f32'> => golden[`square.${name}`] ?? assert.fail(name);
  const sample = at('sample');
  const noise = new Generator(BigInt(run)).randn(sample.shape);
  const moved = float32(
    sample.shape,
    sample.data.map((value, index) => value + 0.3 * run * (noise.data[index] ?? 0)),
  );
  return {
    ...bandInputs('sample', moved, mesh, rank),
    timestep: at('timestep'),
    encoder_hidden_states: at('encoder_hidden_states'),
    text_embeds: at('text_embeds'),
    time_ids: at('time_ids'),
  };
}

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
        expected.push(output(await executor.run(inputsOf(golden, run, mesh, rank))));
      }
      oracle.displacement = undefined;
      const found: Tensor<'f32'>[] = [];
      const image = executor.displace(displacement);
      for (let run = 0; run < runs; run++) {
        const kind = run === 0 ? 'fresh' : run === runs - 1 ? 'last' : 'displaced';
        found.push(output(await image.run(inputsOf(golden, run, mesh, rank), kind)));
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
