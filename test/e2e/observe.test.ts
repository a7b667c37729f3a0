/** What a run shows over HTTP while it works. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import type { Status } from '../../runtime/observe/index.js';
import { packageFile } from '../../runtime/package-root.js';
import { fixture } from '../support/fixtures.js';
import { eventually, Sdxl, smallJob, Workspace } from '../support/sdxl.js';

test('metrics, status and health during a run', async () => {
  await using workspace = await Workspace.open();
  const args = smallJob(fixture('random-sdxl'), '-n', '2', '--num-images', '1000', '--metrics-port', '0');
  const run = new Sdxl(args, { cwd: workspace.path, env: { SDXL_CACHE_DIR: workspace.file('cache') } });
  const [, address = ''] = await run.until(/serving \/metrics, \/healthz and \/status on (\S+)/u);
  assert.match(address, /^127\.0\.0\.1:\d+$/u);
  const get = async (path: string): Promise<{ status: number; body: string; type: string | null }> => {
    const response = await fetch(`http://${address}${path}`);
    return { status: response.status, body: await response.text(), type: response.headers.get('content-type') };
  };
  const metrics = await eventually('image in the metrics of both ranks', async () => {
    const { body } = await get('/metrics');
    const complete =
      body.includes('sdxl_image_latency_seconds_count{') && body.includes('sdxl_step_seconds_count{job="command-line",rank="1"}');
    return complete && /sdxl_images_total\{result="written",job="command-line",rank="0"\} [1-9]/u.test(body) ? body : undefined;
  });
  assert.match(metrics, /sdxl_collective_seconds_count\{operation="group_norm_halo",job="command-line",rank="1"\} [1-9]/u);
  assert.match(metrics, /sdxl_collective_bytes_total\{operation="key_value",direction="sent",job="command-line",rank="0"\} [1-9]/u);
  assert.match(metrics, /sdxl_engine_build_seconds_count\{component="unet",cached="(true|false)",job="command-line",rank="0"\} 1/u);
  assert.match(metrics, /sdxl_stage_seconds_bucket\{le="0\.005",stage="decode",job="command-line",rank="0"\}/u);
  assert.match((await get('/metrics')).type ?? '', /^text\/plain; version=0\.0\.4/u);

  const status = JSON.parse((await get('/status')).body) as Status;
  assert.equal(status.job, 'command-line');
  assert.equal(status.phase, 'running');
  assert.deepEqual(
    status.ranks.map(({ rank, phase }) => [rank, phase]),
    [
      [0, 'running'],
      [1, 'running'],
    ],
  );
  assert.equal(status.images, 1000);
  assert(status.imagesDone >= 1 && status.progressRatio > 0 && status.progressRatio < 1);
  assert(status.latencySeconds !== null && status.latencySeconds.p95 >= status.latencySeconds.p50);
  assert.equal(status.lastError, null);
  assert.deepEqual([(await get('/healthz')).status, (await get('/healthz')).body], [200, 'ok\n']);
  assert.equal((await get('/other')).status, 404);

  run.kill('SIGTERM');
  assert.equal((await run.end()).code, 143);

  const documented = (await readFile(packageFile('docs/metrics.md'), 'utf8')).replace(/ +/gu, ' ');
  const exposed = [...metrics.matchAll(/^# TYPE (\S+) (\S+)$/gmu)].map(([, name, type]) => `\`${name ?? ''}\` | ${type ?? ''} `);
  assert.equal(exposed.length, 8);
  for (const row of exposed) assert(documented.includes(row), `docs/metrics.md lacks ${row}`);
});
