/** What the denoising steps of a run tell: time, the share of it in exchanges, what was exchanged. */
import { quantile } from '../observe/index.js';
import type { RankMessage } from '../launch/index.js';

export interface StepSummary {
  readonly steps: number;
  /** Of one rank: the first of this machine. */
  readonly medianSeconds: number;
  /** Share of the steps' time spent in exchanges, 0 … 1. */
  readonly exchangeShare: number;
  readonly exchangesPerStep: number;
  readonly sentBytesPerStep: number;
}

export class StepStatistics {
  readonly #rank: number;
  /** Images before this one do not count: warm-up. */
  readonly #firstImage: number;
  readonly #seconds: number[] = [];
  #exchangeSeconds = 0;
  #exchanges = 0;
  #sentBytes = 0;

  constructor(rank: number, firstImage = 0) {
    this.#rank = rank;
    this.#firstImage = firstImage;
  }

  message(rank: number, message: RankMessage): void {
    if (rank !== this.#rank || message.type !== 'event' || message.event.type !== 'step') return;
    const { image, seconds, exchangeSeconds, exchanges, sentBytes } = message.event;
    if (image < this.#firstImage) return;
    this.#seconds.push(seconds);
    this.#exchangeSeconds += exchangeSeconds;
    this.#exchanges += exchanges;
    this.#sentBytes += sentBytes;
  }

  /** Undefined where no step was made. */
  summary(): StepSummary | undefined {
    const steps = this.#seconds.length;
    if (steps === 0) return undefined;
    const total = this.#seconds.reduce((sum, value) => sum + value, 0);
    return {
      steps,
      medianSeconds: quantile(this.#seconds, 0.5),
      exchangeShare: this.#exchangeSeconds / total,
      exchangesPerStep: this.#exchanges / steps,
      sentBytesPerStep: this.#sentBytes / steps,
    };
  }
}
