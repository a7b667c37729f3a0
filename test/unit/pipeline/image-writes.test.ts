/** Writes beside the making of images: how many there are, and what becomes of everything when something fails. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { ImageWrites } from '../../../runtime/pipeline/image-writes.js';

/** A write that ends when it is told to, or when the work is given up. */
class Write {
  readonly end: () => void;
  readonly fail: (reason: Error) => void;
  readonly run: () => Promise<void>;

  constructor(signal: AbortSignal) {
    let [end, fail]: [() => void, (reason: Error) => void] = [() => undefined, () => undefined];
    const ended = new Promise<void>((resolve, reject) => {
      [end, fail] = [resolve, reject];
    });
    [this.end, this.fail, this.run] = [end, fail, () => ended];
    signal.addEventListener('abort', () => {
      fail(new Error('the write was stopped'));
    });
  }
}

async function isWaiting(promise: Promise<unknown>): Promise<boolean> {
  const settled = new AbortController();
  const settle = (): void => {
    settled.abort();
  };
  promise.then(settle, settle);
  for (let turn = 0; turn < 5; turn++) await setImmediate();
  return !settled.signal.aborted;
}

test('the work goes on beside one write, and waits beside two', async () => {
  const writes = new ImageWrites(undefined);
  const [first, second] = [new Write(writes.signal), new Write(writes.signal)];
  writes.begin(first.run);
  assert.equal(await isWaiting(writes.atMost(1)), false);
  writes.begin(second.run);
  const room = writes.atMost(1);
  assert.equal(await isWaiting(room), true);
  second.end();
  await room;
  assert.equal(writes.busy, true);
  const all = writes.atMost(0);
  assert.equal(await isWaiting(all), true);
  first.end();
  await all;
  assert.equal(writes.busy, false);
});

test('a write that fails ends the work, and what the others say of that is no news', async () => {
  const writes = new ImageWrites(undefined);
  const [first, second] = [new Write(writes.signal), new Write(writes.signal)];
  writes.begin(first.run);
  writes.begin(second.run);
  const room = writes.atMost(1);
  const full = new Error('the disk is full');
  second.fail(full);
  await assert.rejects(room, full);
  assert.equal(writes.signal.aborted, true);
  assert.equal(await writes.giveUp(new Error('the work was stopped')), full);
  assert.equal(writes.busy, false);
});

test('work that fails stops the writes, and is what is told', async () => {
  const writes = new ImageWrites(undefined);
  writes.begin(new Write(writes.signal).run);
  const lost = new Error('a peer is lost');
  assert.equal(await writes.giveUp(lost), lost);
  assert.equal(writes.busy, false);
});

test('whoever ends both from outside is the cause', async () => {
  const outer = new AbortController();
  const writes = new ImageWrites(outer.signal);
  writes.begin(new Write(writes.signal).run);
  const stopped = new Error('stopped by SIGTERM');
  outer.abort(stopped);
  await assert.rejects(writes.atMost(0), stopped);
  assert.equal(await writes.giveUp(new Error('the work was stopped')), stopped);
});

test('a write that never ends is not waited for', { timeout: 60_000 }, async () => {
  const outer = new AbortController();
  const writes = new ImageWrites(outer.signal);
  writes.begin(() => new Promise<void>(() => undefined));
  const all = writes.atMost(0);
  const lost = new Error('a peer is lost');
  outer.abort(lost);
  await assert.rejects(all, lost);
  assert.equal(await writes.giveUp(lost), lost);
});
