/** Shows how far ranks are: a bar on a terminal, plain lines elsewhere. Both on stderr, so that results can be piped. */
import { SingleBar } from 'cli-progress';
import type { RankMessage } from '../launch/index.js';
import { JobProgress } from '../observe/index.js';
import type { PipelineEvent } from '../pipeline/index.js';

export interface Progress {
  message(rank: number, message: RankMessage): void;
  /** Writes a line of the log without disturbing the display. */
  line(text: string): void;
  close(): void;
}

export interface ProgressOptions {
  /** The rank that is shown. */
  readonly rank: number;
  /** Of each image. */
  readonly steps: readonly number[];
  /** Whether engines are loaded, not only built. */
  readonly loads: boolean;
  readonly stream: NodeJS.WriteStream;
}

export function openProgress(options: ProgressOptions): Progress {
  return options.stream.isTTY ? new ProgressBar(options) : new ProgressLines(options);
}

class ProgressLines implements Progress {
  readonly #options: ProgressOptions;

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  message(rank: number, message: RankMessage): void {
    if (rank !== this.#options.rank) return;
    if (message.type === 'phase') this.line(message.phase);
    if (message.type === 'event') this.#event(message.event);
    if (message.type === 'sample')
      this.line(`image ${String(message.image + 1)}/${String(this.#options.steps.length)}: ${seconds(message.seconds)}`);
  }

  line(text: string): void {
    this.#options.stream.write(`${text}\n`);
  }

  close(): void {
    // Lines hold nothing.
  }

  #event(event: PipelineEvent): void {
    const images = this.#options.steps.length;
    const image = 'image' in event ? `image ${String(event.image + 1)}/${String(images)}: ` : '';
    switch (event.type) {
      case 'engine':
        this.#engine(event);
        break;
      case 'step':
        if (event.step % Math.ceil(event.steps / 10) === 0 || event.step === event.steps) {
          this.line(`${image}step ${String(event.step)}/${String(event.steps)}, ${seconds(event.seconds)}`);
        }
        break;
      case 'stage-ended':
        this.line(`${image}${event.stage} ${seconds(event.seconds)}`);
        break;
      case 'image':
        this.line(event.skipped ? `${image}kept, it is complete: ${event.path}` : `${image}${event.path}, ${seconds(event.seconds)}`);
        break;
      case 'stage-started':
      case 'replica-step':
      case 'waiting':
      case 'warning':
        break;
    }
  }

  #engine({ component, cached, buildSeconds, loadSeconds }: Extract<PipelineEvent, { type: 'engine' }>): void {
    const found = cached ? 'cached' : `built in ${seconds(buildSeconds)}`;
    this.line(`engine ${component}: ${found}${this.#options.loads ? `, loaded in ${seconds(loadSeconds)}` : ''}`);
  }
}

class ProgressBar implements Progress {
  readonly #options: ProgressOptions;
  readonly #bar: SingleBar;
  readonly #progress: JobProgress;
  #active = false;

  constructor(options: ProgressOptions) {
    this.#options = options;
    this.#progress = new JobProgress(options.steps);
    this.#bar = new SingleBar({
      format: '{what} [{bar}] {value}/{total} steps, {duration_formatted}, {eta_formatted} left',
      stream: options.stream,
      hideCursor: true,
      clearOnComplete: true,
      barsize: barSize(options.stream.columns),
      fps: 10,
    });
  }

  message(rank: number, message: RankMessage): void {
    if (rank !== this.#options.rank) return;
    const images = this.#options.steps.length;
    if (message.type === 'phase') this.#show(message.phase);
    if (message.type !== 'event') return;
    const { event } = message;
    if (event.type === 'engine') this.#show(`${this.#options.loads ? 'loading' : 'built'} ${event.component}`);
    if (event.type === 'stage-started') this.#show(`image ${String(event.image + 1)}/${String(images)} ${event.stage}`);
    if (event.type === 'step' || event.type === 'replica-step') this.#progress.stepEnded(event.image, event.step);
    if (event.type === 'image') this.#progress.imageEnded(event.image);
    if (this.#active) this.#bar.update(this.#progress.stepsDone);
  }

  line(text: string): void {
    // Onto the bar's own line, which it draws again at its next turn.
    this.#options.stream.write(this.#active ? `\r\u001B[K${text}\n` : `${text}\n`);
  }

  close(): void {
    if (this.#active) this.#bar.stop();
    this.#active = false;
  }

  #show(what: string): void {
    const payload = { what: what.padEnd(24) };
    if (this.#active) {
      this.#bar.update(payload);
      return;
    }
    this.#active = true;
    this.#bar.start(this.#progress.steps, 0, payload);
  }
}

/** What is left beside the words and numbers, of which the numbers count more. */
function barSize(columns: number): number {
  // Where nobody knows the width it is told as 0.
  return Math.min(30, Math.max(4, (columns || 80) - 56));
}

function seconds(value: number): string {
  return value < 0.1 ? `${(value * 1000).toFixed(1)} ms` : `${value.toFixed(2)} s`;
}
