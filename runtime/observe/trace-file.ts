/**
 * A run's trace in the format that chrome://tracing and Perfetto read (Trace Event Format, JSON object form): each rank a process, with a
 * row for the pipeline, one for what it computes, its exchanges beside each other, from sent to arrived, and the images it writes.
 */
import { open, type FileHandle } from 'node:fs/promises';
import { SdxlError } from '../errors/index.js';

/** What a span is part of. On `pipeline` and on `compute` spans nest; on the others they overlap as they like. */
export type TraceTrack = 'pipeline' | 'compute' | 'exchange' | 'write';

export interface TraceSpan {
  readonly track: TraceTrack;
  readonly name: string;
  /** Microseconds of one clock for all ranks. */
  readonly start: number;
  readonly end: number;
  readonly details?: Readonly<Record<string, string | number>>;
}

const threads = { pipeline: 1, compute: 2, exchange: 3, write: 4 } as const satisfies Record<TraceTrack, number>;

export class TraceFile {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #origin: number;
  readonly #ranks = new Set<number>();
  #overlapping = 0;
  #isFirst = true;
  #written: Promise<void> = Promise.resolve();

  private constructor(path: string, file: FileHandle, origin: number) {
    this.#path = path;
    this.#file = file;
    this.#origin = origin;
  }

  /** `origin`: what the trace calls 0. @throws SdxlError OUTPUT_UNWRITABLE */
  static async open(path: string, origin: number): Promise<TraceFile> {
    try {
      const file = await open(path, 'w');
      await file.write('{"displayTimeUnit":"ms","traceEvents":[');
      return new TraceFile(path, file, origin);
    } catch (cause) {
      throw unwritable(path, cause);
    }
  }

  /** Writes behind the caller's back; what goes wrong is told by {@link close}. */
  add(rank: number, spans: readonly TraceSpan[]): void {
    const events = this.#ranks.has(rank) ? [] : namesOf(rank);
    this.#ranks.add(rank);
    for (const span of spans) events.push(...this.#eventsOf(rank, span));
    if (events.length === 0) return;
    const text = events.map((event) => `\n${JSON.stringify(event)}`).join(',');
    const separator = this.#isFirst ? '' : ',';
    this.#isFirst = false;
    this.#written = this.#written.then(async () => {
      await this.#file.writeFile(separator + text);
    });
    // Its own place to be heard is close().
    this.#written.catch(() => undefined);
  }

  /** After this the file is complete. @throws SdxlError OUTPUT_UNWRITABLE */
  async close(): Promise<void> {
    try {
      await this.#written;
      await this.#file.writeFile('\n]}\n');
    } catch (cause) {
      throw unwritable(this.#path, cause);
    } finally {
      await this.#file.close();
    }
  }

  #eventsOf(rank: number, { track, name, start, end, details }: TraceSpan): object[] {
    const at = (micros: number): number => Math.round((micros - this.#origin) * 10) / 10;
    const common = { name, cat: track, pid: rank, tid: threads[track] };
    const args = details === undefined ? {} : { args: details };
    // Both ends are rounded alike, so that what nests goes on nesting.
    if (track === 'pipeline' || track === 'compute')
      return [{ ...common, ph: 'X', ts: at(start), dur: Math.round((at(end) - at(start)) * 10) / 10, ...args }];
    const id = String(this.#overlapping++);
    return [
      { ...common, ph: 'b', id, ts: at(start), ...args },
      { ...common, ph: 'e', id, ts: at(end) },
    ];
  }
}

function namesOf(rank: number): object[] {
  const named = (name: string, tid: number, args: object): object => ({ name, ph: 'M', pid: rank, tid, args });
  return [
    named('process_name', 0, { name: `rank ${String(rank)}` }),
    named('process_sort_index', 0, { sort_index: rank }),
    ...Object.entries(threads).map(([track, tid]) => named('thread_name', tid, { name: track })),
  ];
}

function unwritable(path: string, cause: unknown): SdxlError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new SdxlError('OUTPUT_UNWRITABLE', `the trace ${path} can't be written: ${reason}`, { fields: { file: path }, cause });
}
