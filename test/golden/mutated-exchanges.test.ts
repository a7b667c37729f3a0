/**
 * The gates fail where a single payload of an exchange is dropped: every halo, statistic and K/V shard. A gate that none of these
 * can trip would prove nothing. mutated-weights.test.ts does the same with biases and affines.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Communicator, Exchange } from '../../runtime/collectives/index.js';
import { AlteredCommunicator } from '../support/altered-communicator.js';
import { fixture, readGolden } from '../support/fixtures.js';
import { tolerance, unetError, vaeError } from '../support/networks.js';
import { onMesh } from '../support/rank.js';

const model = fixture('random-sdxl');

/** Zeroes one received part of one exchange, as if the peer's payload had been forgotten. */
class DroppingCommunicator extends AlteredCommunicator {
  /** Which exchange of the run, and which of its received parts; none at −1. */
  dropped = { exchange: -1, part: -1 };
  /** Received parts of each exchange since the last reset. */
  seen: { readonly operation: string; readonly parts: number }[] = [];

  override async exchange(exchange: Exchange, signal?: AbortSignal): Promise<void> {
    await super.exchange(exchange, signal);
    const parts = exchange.receives.flatMap((message) => message.parts);
    if (this.seen.length === this.dropped.exchange) parts[this.dropped.part]?.fill(0);
    this.seen.push({ operation: exchange.operation, parts: parts.length });
  }
}

describe('dropping one payload of one exchange fails the gate', () => {
  for (const network of ['unet', 'vaeDecoder'] as const) {
    it(`${network}: every halo, statistic and K/V shard, received by either rank`, async (t) => {
      const golden = await readGolden(network === 'unet' ? 'goldens/unet' : 'goldens/vae');
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
      const harmless = survived.filter(([mutation]) => mutation.startsWith('rank 0 loses part 0 of halo #'));
      assert.equal(harmless.length, network === 'unet' ? 2 : 0);
      assert.deepEqual(survived, harmless);
    });
  }
});
