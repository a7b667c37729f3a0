/**
 * One rank as a process of its own, for fault tests: joins, exchanges without end until the gang ends, and reports each
 * step to the parent. `await using` nothing: how it ends is what the tests look at.
 *
 * Started by fork with the options as JSON in its only argument. Ends with the exit code of the error it met, by itself:
 * a handle left open would keep it alive.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { GrpcCommunicator, type GrpcCommunicatorOptions } from '../../runtime/collectives/index.js';
import { SdxlError, toSdxlError, type SerializedError } from '../../runtime/errors/index.js';

export interface RankPlan {
  readonly options: GrpcCommunicatorOptions;
  /** Size of one message of the endless exchange. */
  readonly sizeBytes: number;
  /** Exchanges after which this rank stops taking part, with its event loop free. */
  readonly stallAfter?: number;
  /** Exchanges after which it fails of an unwritable output. */
  readonly failAfter?: number;
  /** Blocks its thread after each of this many barriers and exchanges in turn, until every rank has left it: each makes a file of this folder. */
  readonly blockAfterEach?: { readonly count: number; readonly directory: string };
  /** Exchanges after which it closes, as every rank must. */
  readonly closeAfter?: number;
}

export type RankReport =
  | { readonly report: 'open' }
  | { readonly report: 'exchanged'; readonly count: number }
  | { readonly report: 'ended'; readonly error: SerializedError | null };

const argument = process.argv[2];
if (argument === undefined) throw new Error('the plan is the only argument');
await run(JSON.parse(argument) as RankPlan);

async function run({ options, sizeBytes, stallAfter, failAfter, closeAfter, blockAfterEach }: RankPlan): Promise<void> {
  let communicator: GrpcCommunicator | undefined;
  let error: SdxlError | null = null;
  try {
    communicator = await GrpcCommunicator.open(options);
    report({ report: 'open' });
    const peers = Array.from({ length: options.worldSize }, (_, peer) => peer).filter((peer) => peer !== options.rank);
    const messages = (): { peer: number; parts: Uint8Array[] }[] => peers.map((peer) => ({ peer, parts: [new Uint8Array(sizeBytes)] }));
    const [sends, receives] = [messages(), messages()];
    for (let meeting = 0; meeting < (blockAfterEach?.count ?? 0); meeting++) {
      if (meeting % 2 === 0) await communicator.barrier();
      else await communicator.exchange({ operation: 'turn', tag: meeting, sends, receives });
      blockUntilAllLeft(blockAfterEach?.directory ?? '', meeting, options);
    }
    for (let count = 0; count !== closeAfter; count++) {
      if (count === failAfter) throw new SdxlError('OUTPUT_UNWRITABLE', '/output/0.png cannot be written');
      while (count === stallAfter) {
        communicator.failed.throwIfAborted();
        await delay(20);
      }
      await communicator.exchange({ operation: 'halo', tag: count % 100, sends, receives });
      if (count % 50 === 0) report({ report: 'exchanged', count });
    }
  } catch (thrown) {
    error = toSdxlError(thrown);
    await communicator?.abort(error);
  }
  await communicator?.close();
  report({ report: 'ended', error: error?.toJSON() ?? null });
  process.exitCode = error?.exitCode ?? 0;
  process.disconnect();
}

/** As a native call does that waits for the other ranks: nothing else of this process runs meanwhile. */
function blockUntilAllLeft(directory: string, meeting: number, { rank, worldSize }: GrpcCommunicatorOptions): void {
  const file = (of: number): string => join(directory, `${String(meeting)}-${String(of)}`);
  writeFileSync(file(rank), '');
  const deadline = Date.now() + 10_000;
  const idle = new Int32Array(new SharedArrayBuffer(4));
  while (!Array.from({ length: worldSize }, (_, of) => existsSync(file(of))).every(Boolean)) {
    if (Date.now() > deadline) throw new Error(`rank ${String(rank)} blocked for 10 s after meeting ${String(meeting)}`);
    Atomics.wait(idle, 0, 0, 2);
  }
}

function report(message: RankReport): void {
  process.send?.(message);
}
