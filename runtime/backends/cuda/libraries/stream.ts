/** A queue of device work, and its capture into a graph. */
import type { Driver } from './driver.js';
import type { Event } from './event.js';
import { Graph } from './graph.js';
import type { DevicePointer } from './memory.js';

/** CU_STREAM_CAPTURE_MODE_*: which unsafe calls of other threads fail while this stream captures. */
const captureModes = { global: 0, threadLocal: 1, relaxed: 2 } as const;

export class Stream implements Disposable {
  readonly handle: bigint;
  readonly #driver: Driver;
  #open = true;

  constructor(driver: Driver, priority: number) {
    this.#driver = driver;
    const handle = new BigUint64Array(1);
    const nonBlocking = 1;
    driver.call.cuStreamCreateWithPriority(handle, nonBlocking, priority);
    this.handle = handle[0] ?? 0n;
  }

  /** `source` is the address of pinned memory that stays untouched until the copy is done. */
  copyToDevice(destination: DevicePointer, source: bigint, sizeBytes: number): void {
    this.#driver.call.cuMemcpyHtoDAsync_v2(destination, source, sizeBytes, this.handle);
  }

  copyToHost(destination: bigint, source: DevicePointer, sizeBytes: number): void {
    this.#driver.call.cuMemcpyDtoHAsync_v2(destination, source, sizeBytes, this.handle);
  }

  copy(destination: DevicePointer, source: DevicePointer, sizeBytes: number): void {
    this.#driver.call.cuMemcpyDtoDAsync_v2(destination, source, sizeBytes, this.handle);
  }

  /** Sets `count` elements of 1, 2 or 4 bytes to the given bits. */
  fill(destination: DevicePointer, bits: number, count: number, elementBytes: 1 | 2 | 4 = 1): void {
    const { call } = this.#driver;
    const fill = { 1: call.cuMemsetD8Async, 2: call.cuMemsetD16Async, 4: call.cuMemsetD32Async }[elementBytes];
    fill(destination, bits, count, this.handle);
  }

  /** Later work waits for the event; in a capture this joins the event's stream to it. */
  waitFor(event: Event): void {
    this.#driver.call.cuStreamWaitEvent(this.handle, event.handle, 0);
  }

  /** Blocks the thread until the stream is empty. */
  synchronize(): void {
    this.#driver.call.cuStreamSynchronize(this.handle);
  }

  /**
   * Records what `enqueue` puts on this stream, and on streams that join it, instead of running it. Ends the capture and throws
   * on when `enqueue` throws. The caller owns the graph.
   */
  capture(enqueue: () => void, mode: keyof typeof captureModes = 'threadLocal'): Graph {
    this.#driver.call.cuStreamBeginCapture_v2(this.handle, captureModes[mode]);
    const graph = new BigUint64Array(1);
    try {
      enqueue();
    } catch (error) {
      // What the capture's end says matters less than why it ended.
      if (this.#driver.unchecked.cuStreamEndCapture(this.handle, graph) === 0) new Graph(this.#driver, graph[0] ?? 0n).close();
      throw error;
    }
    this.#driver.call.cuStreamEndCapture(this.handle, graph);
    return new Graph(this.#driver, graph[0] ?? 0n);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#driver.call.cuStreamDestroy_v2(this.handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
