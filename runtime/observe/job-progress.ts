/** How far a job is, image by image: several may be under way at once, and what is told of them comes in any order. */
export class JobProgress {
  /** Of each image. */
  readonly #steps: readonly number[];
  readonly #done = new Set<number>();
  #stepsOfDone = 0;
  /** Of the whole job. */
  readonly steps: number;
  /** Steps made, by image. */
  readonly #underWay = new Map<number, number>();

  constructor(steps: readonly number[]) {
    this.#steps = steps;
    this.steps = steps.reduce((sum, each) => sum + each, 0);
  }

  /** `step` counts from 1. */
  stepEnded(image: number, step: number): void {
    if (!this.#done.has(image)) this.#underWay.set(image, Math.max(step, this.#underWay.get(image) ?? 0));
  }

  imageEnded(image: number): void {
    if (!this.#done.has(image)) this.#stepsOfDone += this.#of(image);
    this.#done.add(image);
    this.#underWay.delete(image);
  }

  get imagesDone(): number {
    return this.#done.size;
  }

  /** Steps of the whole job that are done; those of images that were complete already count. */
  get stepsDone(): number {
    return [...this.#underWay].reduce((sum, [image, steps]) => sum + Math.min(steps, this.#of(image)), this.#stepsOfDone);
  }

  /** 0 … 1. */
  get ratio(): number {
    return Math.min(1, this.stepsDone / this.steps);
  }

  #of(image: number): number {
    return this.#steps[image] ?? 0;
  }
}
