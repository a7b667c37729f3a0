/** `sdxl bench --compare`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fixture } from '../support/fixtures.js';
import { sdxl, Workspace } from '../support/sdxl.js';

test('each mesh is compared with one rank, in latency and likeness; nothing is left behind', async () => {
  await using workspace = await Workspace.open();
  const size = ['--size', '128', '--num-inference-steps', '2', '--threads', '1'];
  const runs = ['--num-warmup-runs', '1', '--avg-runs', '1', '--mode', 'Synchronous', '--data-degree', '2'];
  const args = ['bench', '--compare', '--model', fixture('random-sdxl'), ...size, ...runs, '-n', '2', '--json'];
  // Four gangs, one after the other.
  const options = { cwd: workspace.path, env: { SDXL_CACHE_DIR: workspace.file('cache') } };
  const { code, stdout, stderr } = await sdxl(args, options, 240_000);
  assert.equal(code, 0, stderr);
  const { results } = JSON.parse(stdout) as { results: Record<string, unknown>[] };
  assert.deepEqual(
    results.map(({ ranks, mesh, mode }) => [ranks, mesh, mode]),
    [
      [1, 'cfg 1 x patch 1', 'Synchronous'],
      [2, 'cfg 1 x patch 2', 'Synchronous'],
      [2, 'cfg 2 x patch 1', 'Synchronous'],
      [2, 'data 2 x cfg 1 x patch 1', 'Synchronous'],
    ],
  );
  assert.deepEqual([results[0]?.['worstDecibels'], results[0]?.['speedUp']], ['equal', 1]);
  // Replicas make what one rank makes, to the bit.
  assert.deepEqual([results[3]?.['worstDecibels'], results[3]?.['worstSsim']], ['equal', 1]);
  assert.equal(Number(results[3]?.['imagesPerSecond']), 2 / Number(results[3]?.['latencySeconds']));
  for (const { worstDecibels, worstSsim, latencySeconds } of results.slice(1)) {
    assert.ok(Number(worstSsim) > 0.999, String(worstSsim));
    assert.ok(worstDecibels === 'equal' || Number(worstDecibels) >= 55, String(worstDecibels));
    assert.ok(Number(latencySeconds) > 0);
  }
  assert.deepEqual(await workspace.list(), ['cache']);
});
