import assert from 'node:assert/strict';
import { setMaxListeners } from 'node:events';
import { test } from 'node:test';
import { setImmediate as immediate, setTimeout as delay } from 'node:timers/promises';
import { RateLimiter, WorkQueue } from '../../../operator/kube/index.js';

/** Runs the queue until `count` keys were worked on. */
async function worked(queue: WorkQueue, count: number, work: (key: string) => Promise<void> = async () => undefined): Promise<string[]> {
  const keys: string[] = [];
  const stop = new AbortController();
  await queue.run(
    4,
    async (key) => {
      keys.push(key);
      await work(key);
      if (keys.length === count) stop.abort();
    },
    stop.signal,
  );
  return keys;
}

test('a key stands in the queue once', async () => {
  const queue = new WorkQueue();
  for (const key of ['a', 'b', 'a', 'a', 'c', 'b']) queue.add(key);
  assert.equal(queue.depth, 3);
  assert.deepEqual(await worked(queue, 3), ['a', 'b', 'c']);
});

test('what waits is forgotten where nobody works on it any more', async () => {
  const queue = new WorkQueue();
  queue.add('a');
  queue.addAfter('b', 0);
  queue.clear();
  await delay(5);
  assert.equal(queue.depth, 0);
  queue.add('c');
  assert.deepEqual(await worked(queue, 1), ['c']);
});

test('a key added while it is worked on comes again, and never at the same time', async () => {
  const queue = new WorkQueue();
  queue.add('a');
  let atOnce = 0;
  let runs = 0;
  const keys = await worked(queue, 3, async () => {
    assert.equal(++atOnce, 1);
    if (++runs < 3) for (let times = 0; times < 5; times++) queue.add('a');
    await delay(5);
    atOnce--;
  });
  assert.deepEqual(keys, ['a', 'a', 'a']);
});

test('the earliest of several times counts', async () => {
  const queue = new WorkQueue();
  const started = performance.now();
  queue.addAfter('a', 5_000);
  queue.addAfter('a', 20);
  queue.addAfter('a', 10_000);
  assert.deepEqual(await worked(queue, 1), ['a']);
  assert.ok(performance.now() - started < 2_000);
  queue.close();
});

test('failures wait longer and longer until they are forgiven', async () => {
  const queue = new WorkQueue({ backoff: { firstMs: 60, maxMs: 10_000 } });
  queue.add('a');
  const times: number[] = [];
  await worked(queue, 5, async (key) => {
    times.push(performance.now());
    if (times.length === 4) queue.forgive(key);
    queue.addFailed(key);
  });
  const waits = times.slice(1).map((time, index) => time - (times[index] ?? 0));
  assert.ok((waits[2] ?? 0) > (waits[0] ?? 0), waits.join());
  assert.ok((waits[3] ?? 0) < (waits[2] ?? 0), waits.join());
  queue.close();
});

test('a failure with limits of its own waits no longer than they say', async () => {
  const queue = new WorkQueue({ backoff: { firstMs: 60_000, maxMs: 60_000 } });
  queue.add('a');
  const started = performance.now();
  await worked(queue, 8, async (key) => {
    queue.addFailed(key, { firstMs: 5, maxMs: 20 });
  });
  assert.ok(performance.now() - started < 2_000);
  queue.close();
});

test('a forgotten key does not come back', async () => {
  const queue = new WorkQueue();
  queue.addAfter('a', 10);
  queue.forget('a');
  queue.addAfter('b', 30);
  assert.deepEqual(await worked(queue, 1), ['b']);
});

test('the end waits for the work in hand', async () => {
  const queue = new WorkQueue();
  queue.add('a');
  let ended = false;
  const stop = new AbortController();
  const run = queue.run(
    2,
    async () => {
      stop.abort();
      await delay(30);
      ended = true;
    },
    stop.signal,
  );
  await run;
  assert.ok(ended);
});

test('a process that has just started has room for what can be left out', () => {
  // Longer than any process of the tests has run.
  assert.equal(new RateLimiter(1, 1_000_000).hasRoom, true);
});

test('calls beyond the burst wait for their turn', async () => {
  const limiter = new RateLimiter(8, 5);
  const signal = AbortSignal.timeout(10_000);
  setMaxListeners(0, signal);
  const started = performance.now();
  const burst = Promise.all(Array.from({ length: 5 }, () => limiter.acquire(signal))).then(() => 'at once');
  assert.equal(await Promise.race([burst, immediate('later')]), 'at once');
  assert.ok(!limiter.hasRoom);
  await Promise.all(Array.from({ length: 5 }, () => limiter.acquire(signal)));
  assert.ok(performance.now() - started >= 600);
});

test('nobody calls a server that asked to be left alone', async () => {
  const limiter = new RateLimiter(1000, 100);
  limiter.shut(100);
  const started = performance.now();
  await limiter.acquire(AbortSignal.timeout(10_000));
  assert.ok(performance.now() - started >= 95);
  limiter.shut(60_000);
  await assert.rejects(limiter.acquire(AbortSignal.timeout(10)), { name: 'AbortError' });
});
