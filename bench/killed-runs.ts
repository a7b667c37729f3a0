/**
 * Whether a long run of many prompts survives being killed: `node dist/bench/killed-runs.js [--prompts 100] [--kills 8] [-n 2] [--model DIR]`.
 * Ends with an error where an image differs from an undisturbed run's, is made twice, or anything else is left in the folder.
 */
import { cp, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { packageFile } from '../runtime/package-root.js';
import { killAndResume } from '../test/support/killed-run.js';
import { Workspace } from '../test/support/sdxl.js';

const { values } = parseArgs({
  options: {
    prompts: { type: 'string', default: '100' },
    kills: { type: 'string', default: '8' },
    ranks: { type: 'string', short: 'n', default: '2' },
    model: { type: 'string', default: packageFile('test/fixtures/random-sdxl') },
  },
});
const count = Number(values.prompts);
await using workspace = await Workspace.open();
await cp(values.model, workspace.file('model'), { recursive: true });
await writeFile(workspace.file('prompts.txt'), Array.from({ length: count }, (_, index) => `flowers ${String(index)}\n`).join(''));
const settings = ['--size', '64', '--num-inference-steps', '3', '--seed', '7', '--threads', '1', '--guidance-scale', '3.0'];
const started = performance.now();
await killAndResume({
  workspace,
  env: { SDXL_CACHE_DIR: workspace.file('cache'), SDXL_GRACE_PERIOD_SECONDS: '4' },
  model: workspace.file('model'),
  args: [...settings, '-n', values.ranks, '--prompts', 'prompts.txt'],
  count,
  kills: Number(values.kills),
  patienceMs: 600_000,
  report: (text) => {
    console.log(text);
  },
});
console.log(`all ${values.prompts} images byte for byte those of the undisturbed run, none made twice, nothing else left`);
console.log(`${((performance.now() - started) / 1000).toFixed(0)} s in all`);
