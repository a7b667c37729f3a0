/**
 * Memory and handles of every process of a long job, with Node's default heap: `node dist/bench/soak.js [--images 200] [--model DIR]`.
 * Medians around each point, two ranks on this machine.
 */
import { parseArgs } from 'node:util';
import { packageFile } from '../runtime/package-root.js';
import { medians, soak } from '../test/support/soak.js';
import { Workspace } from '../test/support/sdxl.js';

const { values } = parseArgs({
  options: { images: { type: 'string', default: '200' }, model: { type: 'string', default: packageFile('test/fixtures/random-sdxl') } },
});
const images = Number(values.images);
await using workspace = await Workspace.open();
const started = performance.now();
const samples = await soak({ workspace, model: values.model, images, env: {}, patienceMs: 3_600_000 });
console.log(`${String(images)} images in ${((performance.now() - started) / 1000).toFixed(0)} s`);
const points = [0.02, 0.25, 0.5, 0.75, 0.95].map((share) => Math.round(share * images));
for (const [name, taken] of samples) {
  const row = points.map((point) => {
    const { rssMiB, handles } = medians(taken, point, point + 0.05 * images);
    return `image ${String(point)}: ${rssMiB.toFixed(0)} MiB, ${String(handles)} handles`;
  });
  console.log(`${name}: ${row.join('; ')}`);
}
