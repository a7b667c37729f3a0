/**
 * What displaced patches cost in quality, by mode and by steps of warm-up, on the small model:
 * `npm run build && node dist/bench/displaced-quality.js [--images 48] [--gate-images 400] [--steps 25] [--patch 2] [--log FILE]`.
 *
 * Every picture is made by one rank, then by a gang in every mode, with the same prompt and seed. PSNR is against the one rank's
 * picture; the judge says of each whether it shows what the prompt asked for. Cells have `--images` pictures, CorrectedAsyncGn with
 * four steps of warm-up, whose loss is limited to two points, has `--gate-images`. With `--log`, what that file holds is not made
 * again. Exits with 1 where the limit is passed.
 */
import { appendFile, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { psnr, type FloatImage } from '../runtime/image/index.js';
import { packageFile } from '../runtime/package-root.js';
import { patchModes, type PatchMode } from '../runtime/parallel/index.js';
import type { ImageRequest, PatchTiming } from '../runtime/pipeline/index.js';
import { Gang } from './gang.js';
import { Judge } from './quality/judge.js';
import { lossOf, type Loss } from './quality/loss.js';
import { wantedAt } from './quality/prompts.js';

/** One picture of one cell. */
interface Picture {
  readonly image: number;
  readonly cell: string;
  readonly decibels: number;
  readonly recognised: boolean;
  /** Whether the one rank's picture is. */
  readonly alone: boolean;
}

const { values } = parseArgs({
  options: {
    images: { type: 'string', default: '48' },
    'gate-images': { type: 'string', default: '400' },
    steps: { type: 'string', default: '25' },
    'warmup-steps': { type: 'string', default: '1,2,4,8' },
    patch: { type: 'string', default: '2' },
    log: { type: 'string' },
  },
});
const warmups = values['warmup-steps'].split(',').map(Number);
const gate: PatchTiming = { mode: 'CorrectedAsyncGn', warmupSteps: 4 };
const limitPoints = 2;
/** The warm-up of synchronous patches says nothing. */
const cells = patchModes.flatMap((mode): PatchTiming[] =>
  mode === 'Synchronous' ? [{ mode, warmupSteps: 0 }] : warmups.map((warmupSteps) => ({ mode, warmupSteps })),
);

const pictures = await makePictures();
process.stdout.write(report(pictures));
const loss = lossIn(pictures, gate);
process.stdout.write(`${nameOf(gate)} loses ${points(loss)} points; the limit is ${limitPoints}\n`);
if (!(loss.points <= limitPoints)) process.exitCode = 1;

async function makePictures(): Promise<Picture[]> {
  const cacheDirectory = await mkdtemp(join(tmpdir(), 'sdxl-quality-'));
  try {
    const model = packageFile('models/tiny-sdxl');
    await using alone = await Gang.open({ model, cacheDirectory, mesh: { cfg: 1, patch: 1 }, threads: 2 });
    await using gang = await Gang.open({ model, cacheDirectory, mesh: { cfg: 1, patch: Number(values.patch) }, threads: 1 });
    const judge = await Judge.open();
    const made = await readLog();
    const count = Math.max(Number(values.images), Number(values['gate-images']));
    for (let image = 0; image < count; image++) {
      const missing = cells.filter(
        (cell) => image < imagesOf(cell) && !made.some((picture) => picture.image === image && picture.cell === nameOf(cell)),
      );
      if (missing.length === 0) continue;
      const wanted = wantedAt(image, judge.classes);
      const request: ImageRequest = {
        prompt: wanted.prompt,
        negativePrompt: undefined,
        height: 256,
        width: 256,
        numInferenceSteps: Number(values.steps),
        guidanceScale: 5,
        seed: wanted.seed,
      };
      const recognised = (picture: FloatImage): Promise<boolean> => judge.recognises(picture, wanted.classes);
      const reference = (await alone.generate(request)).image;
      const referenceRecognised = await recognised(reference);
      for (const cell of missing) {
        const picture = (await gang.generate({ ...request, patches: cell })).image;
        await note(made, {
          image,
          cell: nameOf(cell),
          decibels: psnr(picture, reference),
          recognised: await recognised(picture),
          alone: referenceRecognised,
        });
      }
      process.stderr.write(`\r${image + 1}/${count} `);
    }
    process.stderr.write('\n');
    await judge.close();
    return made;
  } finally {
    await rm(cacheDirectory, { recursive: true, force: true });
  }
}

async function readLog(): Promise<Picture[]> {
  if (values.log === undefined) return [];
  const text = await readFile(values.log, { encoding: 'utf8', flag: 'a+' });
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Picture);
}

async function note(made: Picture[], picture: Picture): Promise<void> {
  made.push(picture);
  if (values.log !== undefined) await appendFile(values.log, `${JSON.stringify(picture)}\n`);
}

function report(made: readonly Picture[]): string {
  const rows = cells.map((cell) => {
    const own = made.filter((picture) => picture.cell === nameOf(cell));
    const decibels = own.map((picture) => picture.decibels).sort((a, b) => a - b);
    const quantile = (share: number): string => (decibels[Math.floor((decibels.length - 1) * share)] ?? Number.NaN).toFixed(1);
    const found = lossIn(made, cell);
    const { mode, warmupSteps } = cell;
    const warmup = mode === 'Synchronous' ? '–' : warmupSteps;
    return `| \`${mode}\` | ${warmup} | ${own.length} | ${quantile(0.5)} | ${quantile(0.1)} | ${percent(own, 'recognised')} | ${percent(own, 'alone')} | ${points(found)} |`;
  });
  return [
    '| mode | warm-up | images | PSNR median, dB | a tenth is below | recognised | one rank | lost, points (95 %) |',
    '| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |',
    ...rows,
    '',
  ].join('\n');
}

function lossIn(made: readonly Picture[], cell: PatchTiming): Loss {
  return lossOf(made.filter((picture) => picture.cell === nameOf(cell)));
}

function percent(made: readonly Picture[], which: 'recognised' | 'alone'): string {
  return `${((100 * made.filter((picture) => picture[which]).length) / made.length).toFixed(1)} %`;
}

function points({ points: middle, low, high }: Loss): string {
  return `${middle.toFixed(1)} (${low.toFixed(1)} … ${high.toFixed(1)})`;
}

function nameOf({ mode, warmupSteps }: { readonly mode: PatchMode; readonly warmupSteps: number }): string {
  return `${mode}/${warmupSteps}`;
}

function imagesOf(cell: PatchTiming): number {
  return nameOf(cell) === nameOf(gate) ? Number(values['gate-images']) : Number(values.images);
}
