import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { aggregateMetrics, createLog, ObservationServer, quantile, RankMetrics, StatusTracker } from '../../../runtime/observe/index.js';

test('the metrics of several ranks stay apart', async () => {
  const ranks = [0, 1].map((rank) => new RankMetrics({ job: 'j', rank }));
  ranks[0]?.stepEnded(0.5);
  ranks[1]?.stepEnded(0.7);
  ranks[1]?.stepEnded(0.9);
  ranks[1]?.exchanged({ operation: 'halo', seconds: 0.001, sentBytes: 10, receivedBytes: 20 });
  const snapshots = await Promise.all(ranks.map((rank) => rank.snapshot()));
  // As they cross processes.
  const text = await aggregateMetrics(JSON.parse(JSON.stringify(snapshots)) as typeof snapshots);
  assert.match(text, /^sdxl_step_seconds_count\{job="j",rank="0"\} 1$/mu);
  assert.match(text, /^sdxl_step_seconds_count\{job="j",rank="1"\} 2$/mu);
  assert.match(text, /^sdxl_step_seconds_bucket\{le="0\.64",job="j",rank="1"\} 0$/mu);
  assert.match(text, /^sdxl_collective_bytes_total\{operation="halo",direction="received",job="j",rank="1"\} 20$/mu);
  assert.equal(await aggregateMetrics([]), '');
});

test('images are told of by rank 0 alone', async () => {
  const snapshots = await Promise.all([0, 1].map((rank) => new RankMetrics({ job: 'j', rank }).snapshot()));
  assert.match(await aggregateMetrics(snapshots.slice(0, 1)), /^sdxl_image_latency_seconds_count\{job="j",rank="0"\} 0$/mu);
  assert.doesNotMatch(await aggregateMetrics(snapshots.slice(1)), /sdxl_image/u);
});

test('the status follows the rank that is least far', () => {
  const status = new StatusTracker('j', [10, 10], [0, 1]);
  assert.deepEqual([status.get().phase, status.get().progressRatio, status.get().latencySeconds], ['starting', 0, null]);
  status.phaseChanged(0, 'running');
  assert.equal(status.get().phase, 'starting');
  status.phaseChanged(1, 'running');
  status.stepEnded(0, 0, 5);
  assert.equal(status.get().progressRatio, 0.25);
  status.imageEnded(0, 2);
  assert.equal(status.get().progressRatio, 0.5);
  status.imageEnded(1, undefined);
  assert.deepEqual([status.get().progressRatio, status.get().latencySeconds], [1, { mean: 2, p50: 2, p95: 2 }]);
  status.phaseChanged(1, 'failed');
  status.failed({ code: 'RANK_HUNG', message: 'm' });
  assert.deepEqual([status.get().phase, status.get().lastError], ['failed', { code: 'RANK_HUNG', message: 'm' }]);
});

test('images made at once count together, told of by several ranks and in any order', () => {
  const status = new StatusTracker('j', [10, 10, 10, 10], [0, 1]);
  status.stepEnded(0, 0, 5);
  status.stepEnded(1, 1, 5);
  // Rank 0 says it as well, and says it of a rank elsewhere.
  status.stepEnded(undefined, 1, 4);
  status.stepEnded(undefined, 2, 10);
  assert.equal(status.get().progressRatio, 0.5);
  status.imageEnded(1, 3);
  // What arrives late changes nothing.
  status.stepEnded(1, 1, 6);
  const { progressRatio, imagesDone, ranks } = status.get();
  assert.deepEqual([progressRatio, imagesDone], [0.625, 1]);
  assert.deepEqual(
    ranks.map(({ image, step }) => [image, step]),
    [
      [0, 5],
      [1, 6],
    ],
  );
});

test('quantiles are interpolated', () => {
  assert.deepEqual([quantile([3, 1, 2], 0.5), quantile([1, 2], 0.5), quantile([5], 0.95)], [2, 1.5, 5]);
});

test('health tells why not; other methods are refused; closing twice is fine', async () => {
  const health: { reason?: string } = {};
  const status = new StatusTracker('j', [1], [0]);
  const sources = { metrics: async () => '', status: () => status.get(), unhealthy: () => health.reason };
  const server = await ObservationServer.open({ host: '127.0.0.1', port: 0 }, sources);
  const url = `http://127.0.0.1:${String(server.port)}`;
  assert.equal((await fetch(`${url}/healthz`)).status, 200);
  health.reason = 'rank 1 hangs';
  const ill = await fetch(`${url}/healthz`);
  assert.deepEqual([ill.status, await ill.text()], [503, 'rank 1 hangs\n']);
  assert.equal((await fetch(`${url}/status`, { method: 'POST' })).status, 405);
  await assert.rejects(ObservationServer.open({ host: '127.0.0.1', port: server.port }, sources), {
    code: 'METRICS_UNAVAILABLE',
    exitCode: 3,
    message: /127\.0\.0\.1:\d+: .*EADDRINUSE.*: choose another port with --metrics-port/u,
  });
  await server.close();
  await server.close();
});

test('log lines carry job and fields, as text or JSON', () => {
  const written = (format: 'text' | 'json', hostile?: string): string => {
    let text = '';
    const stream = new Writable({
      write: (chunk: Buffer, _encoding, done) => {
        text += chunk.toString();
        done();
      },
    });
    const log = createLog({ level: 'info', format, stream, fields: { job: 'j' } });
    log.log('debug', 'unheard');
    log.log('warn', 'a message', { rank: 1, path: '/with space' });
    if (hostile !== undefined) log.log('warn', hostile, { path: hostile });
    return text;
  };
  // Another line, a color, a cursor, a direction of writing: none leaves the log as it came.
  const lines = written('text', 'a\nb\u001b[31mc\u009b2Jd\u202ee').split('\n');
  assert.equal(lines.length, 3);
  assert.match(
    lines[1] ?? '',
    /^\d{4}-\S+Z warn {2}a\\nb\\u001b\[31mc\\u009b2Jd\\u202ee job=j path="a\\nb\\u001b\[31mc\\u009b2Jd\\u202ee"$/u,
  );
  assert.match(written('text'), /^\d{4}-\S+Z warn {2}a message job=j rank=1 path="\/with space"\n$/u);
  const { timestamp, ...fields } = JSON.parse(written('json')) as Record<string, unknown>;
  assert.equal(typeof timestamp, 'string');
  assert.deepEqual(fields, { level: 'warn', message: 'a message', job: 'j', rank: 1, path: '/with space' });
});
