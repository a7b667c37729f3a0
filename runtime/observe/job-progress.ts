/** How far a job is, image by image: several may be under way at once, and what is told of them comes in any order. */
export class JobProgress {
  readonly #images: number;
  readonly #steps: number;
  readonly #done = new Set<number>();
  /** Steps made, by image. */
  readonly #underWay = new Map<number, number>();

  constructor(images: number, steps: number) {
    this.#images = images;
    this.#steps = steps;
  }

  /** `step` counts from 1. */
  stepEnded(image: number, step: number): void {
    if (!this.#done.has(image)) this.#underWay.set(image, Math.max(step, this.#underWay.get(image) ?? 0));
  }

  imageEnded(image: number): void {
    this.#done.add(image);
    this.#underWay.delete(image);
  }

  get imagesDone(): number {
    return this.#done.size;
  }

  /** Steps of the whole job that are done; those of images that were complete already count. */
  get stepsDone(): number {
    const within = [...this.#underWay.values()].reduce((sum, steps) => sum + Math.min(steps, this.#steps), 0);
    return this.#done.size * this.#steps + within;
  }

  /** 0 … 1. */
  get ratio(): number {
    return Math.min(1, this.stepsDone / (this.#images * this.#steps));
  }
}
