/** How far two runs are apart, stage by stage in the order they pass through. */
import { elementCount, type Tensor } from '../tensor/index.js';
import type { Stages } from './reference.js';

export interface StageComparison {
  readonly stage: string;
  readonly ours: readonly number[];
  readonly theirs: readonly number[];
  /** Largest difference of an element; NaN where shapes differ or a value is not finite. */
  readonly maxAbsolute: number;
  /** Its share of the reference's largest magnitude. */
  readonly relative: number;
  /** 10·log10(peak² / mean squared error), where the peak of an image is 1 and of anything else the reference's largest magnitude. */
  readonly decibels: number;
  /** Cosine between the two: near 0 they have nothing to do with each other. */
  readonly cosine: number;
  /** ours ≈ factor × theirs, in the least-squares sense. */
  readonly factor: number;
  readonly finite: boolean;
}

/** Below this a stage differs by more than the order of sums in fp32 explains. */
const sameDecibels = 50;

export function compareStages(ours: Stages, theirs: Stages): StageComparison[] {
  return [...theirs.keys()].sort((a, b) => order(a) - order(b)).flatMap((stage) => compareStage(stage, ours.get(stage), theirs.get(stage)));
}

export function firstDifference(stages: readonly StageComparison[]): StageComparison | undefined {
  return stages.find(({ decibels }) => !(decibels >= sameDecibels));
}

function order(stage: string): number {
  const [, step] = /^latents\.(\d+)$/.exec(stage) ?? [];
  if (step !== undefined) return 3 + Number(step) / 1e6;
  return { prompt_embeds: 0, pooled_prompt_embeds: 1, initial_latents: 2, latents: 4, image: 5 }[stage] ?? 6;
}

function compareStage(stage: string, ours: Tensor<'f32'> | undefined, theirs: Tensor<'f32'> | undefined): StageComparison[] {
  if (ours === undefined || theirs === undefined) return [];
  const shapes = { stage, ours: ours.shape, theirs: theirs.shape };
  const trimmed = (shape: readonly number[]): string => shape.slice(shape[0] === 1 ? 1 : 0).join();
  const finite = theirs.data.every(Number.isFinite);
  if (trimmed(ours.shape) !== trimmed(theirs.shape)) {
    return [{ ...shapes, maxAbsolute: NaN, relative: NaN, decibels: NaN, cosine: NaN, factor: NaN, finite }];
  }
  let [worst, largest, squares, dot, ownSquares, theirSquares] = [0, 0, 0, 0, 0, 0];
  theirs.data.forEach((reference, index) => {
    const own = ours.data[index] ?? NaN;
    const difference = own - reference;
    worst = Number.isNaN(difference) ? NaN : Math.max(worst, Math.abs(difference));
    largest = Math.max(largest, Math.abs(reference));
    squares += difference ** 2;
    dot += own * reference;
    ownSquares += own ** 2;
    theirSquares += reference ** 2;
  });
  const peak = stage === 'image' ? 1 : largest;
  return [
    {
      ...shapes,
      maxAbsolute: worst,
      relative: worst / largest,
      decibels: 10 * Math.log10((peak ** 2 * elementCount(theirs.shape)) / squares),
      cosine: dot / Math.sqrt(ownSquares * theirSquares),
      factor: dot / theirSquares,
      finite,
    },
  ];
}
