/** What one rank did when: gathers the spans of its pipeline, its backend and its communicator, and hands them on in batches. */
import type { Exchange } from '../collectives/index.js';
import { clockMicros, type RunSpan } from '../engine/index.js';
import type { TraceSpan } from '../observe/index.js';
import type { PipelineEvent, Stage } from '../pipeline/index.js';

/** A message to the launcher of some hundred kilobytes. */
const batchSpans = 2_000;

export class RankTrace {
  readonly #send: (spans: readonly TraceSpan[]) => void;
  #spans: TraceSpan[] = [];
  #stageStart = 0;
  readonly #writeStarts = new Map<number, number>();
  #stepStart = 0;

  constructor(send: (spans: readonly TraceSpan[]) => void) {
    this.#send = send;
  }

  /** Stages tell of both their ends. Steps follow each other, and the first begins with its stage. Images are written beside the next one's stages. */
  event(event: PipelineEvent): void {
    const now = clockMicros();
    if ('stage' in event && event.stage === 'write') {
      this.#write(event, now);
      return;
    }
    if (event.type === 'stage-started') [this.#stageStart, this.#stepStart] = [now, now];
    if (event.type === 'stage-ended') {
      this.#add({ track: 'pipeline', name: event.stage, start: this.#stageStart, end: now, details: { image: event.image } });
    }
    if (event.type !== 'step') return;
    this.#add({ track: 'pipeline', name: `step ${String(event.step)}`, start: this.#stepStart, end: now, details: { image: event.image } });
    this.#stepStart = now;
  }

  #write({ type, image }: Extract<PipelineEvent, { stage: Stage }>, now: number): void {
    if (type === 'stage-started') this.#writeStarts.set(image, now);
    else this.#add({ track: 'write', name: 'write', start: this.#writeStarts.get(image) ?? now, end: now, details: { image } });
    if (type === 'stage-ended') this.#writeStarts.delete(image);
  }

  run(spans: readonly RunSpan[]): void {
    for (const span of spans) this.#add({ track: 'compute', ...span });
  }

  exchange({ operation, tag, sends }: Exchange, start: number, end: number): void {
    const bytes = sends.flatMap(({ parts }) => parts).reduce((sum, part) => sum + part.byteLength, 0);
    this.#add({ track: 'exchange', name: `${operation}#${String(tag)}`, start, end, details: { sentBytes: bytes } });
  }

  flush(): void {
    if (this.#spans.length > 0) this.#send(this.#spans);
    this.#spans = [];
  }

  #add(span: TraceSpan): void {
    this.#spans.push(span);
    if (this.#spans.length >= batchSpans) this.flush();
  }
}
