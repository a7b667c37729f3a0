/** What the denoising steps of a run tell: time, the share of it in exchanges, what was exchanged. */
import { quantile } from '../observe/index.js';
import type { RankMessage } from '../launch/index.js';

export interface StepSummary {
  readonly steps: number;
  /** Of one rank: the first of this machine. */
  readonly medianSeconds: number;
  /** Share of the steps' time spent in exchanges, 0 … 1; null, like the bytes, where a device's graph holds them. */
  readonly exchangeShare: number | null;
  readonly exchangesPerStep: number;
  readonly sentBytesPerStep: number | null;
}

export class StepStatistics {
  readonly #rank: number;
  /** Images before this one do not count: warm-up. */
  readonly #firstImage: number;
  readonly #seconds: number[] = [];
  #exchangeSeconds: number | undefined = 0;
  #exchanges = 0;
  #sentBytes: number | undefined = 0;

  constructor(rank: number, firstImage = 0) {
    this.#rank = rank;
    this.#firstImage = firstImage;
  }

  message(rank: number, message: RankMessage): void {
    if (rank !== this.#rank || message.type !== 'event' || message.event.type !== 'step') return;
    const { image, seconds, exchangeSeconds, exchanges, sentBytes } = message.event;
    if (image < this.#firstImage) return;
    this.#seconds.push(seconds);
    this.#exchangeSeconds = sum(this.#exchangeSeconds, exchangeSeconds);
    this.#exchanges += exchanges;
    this.#sentBytes = sum(this.#sentBytes, sentBytes);
  }

  /** Undefined where no step was made. */
  summary(): StepSummary | undefined {
    const steps = this.#seconds.length;
    if (steps === 0) return undefined;
    const total = this.#seconds.reduce((all, value) => all + value, 0);
    return {
      steps,
      medianSeconds: quantile(this.#seconds, 0.5),
      exchangeShare: this.#exchangeSeconds === undefined ? null : this.#exchangeSeconds / total,
      exchangesPerStep: this.#exchanges / steps,
      sentBytesPerStep: this.#sentBytes === undefined ? null : this.#sentBytes / steps,
    };
  }
}

/** Unknown as soon as one part is. */
function sum(all: number | undefined, part: number | undefined): number | undefined {
  return all === undefined || part === undefined ? undefined : all + part;
}
