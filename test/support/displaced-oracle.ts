/**
 * An oracle of displaced runs: fresh runs whose communicator hands out what the peers sent in the run before. It shares nothing with the
 * way displaced runs are made: nothing overlaps, nothing is kept by the engine.
 */
import assert from 'node:assert/strict';
import type { Exchange } from '../../runtime/collectives/index.js';
import type { Displacement } from '../../runtime/graph/index.js';
import type { Mesh } from '../../runtime/parallel/index.js';
import { bandInputs } from '../../runtime/pipeline/bands.js';
import { float32, Generator, type Tensor } from '../../runtime/tensor/index.js';
import { AlteredCommunicator } from './altered-communicator.js';

/** Hands the exchanges of fresh runs to its subclass, which may change what was received. */
export class OracleCommunicator extends AlteredCommunicator {
  /** Undefined: a fresh run. */
  displacement: Displacement | undefined;
  /** By tag: what peers sent and what this rank had in the run before, copied. */
  readonly #received = new Map<number, Uint8Array[]>();
  readonly #own = new Map<number, Uint8Array>();

  override async exchange(exchange: Exchange, signal?: AbortSignal): Promise<void> {
    const { tag } = exchange;
    const ownMoments = Uint8Array.from(exchange.sends[0]?.parts[0] ?? []);
    await super.exchange(exchange, signal);
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

/** The golden's inputs, with noise that changes from run to run as latents do. */
export function movingInputs(
  golden: Readonly<Record<string, Tensor<'f32'>>>,
  run: number,
  mesh: Mesh,
  rank: number,
  name = 'square',
): Readonly<Record<string, Tensor>> {
  const at = (tensor: string): Tensor<'f32'> => golden[`${name}.${tensor}`] ?? assert.fail(tensor);
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
