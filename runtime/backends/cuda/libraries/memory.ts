/** Device memory, and host memory the device can reach. Owned by whoever allocated it. */
import type { Driver } from './driver.js';
import { viewMemory } from './native-memory.js';

/** An address on the device. Address arithmetic is the caller's: `pointer + BigInt(offsetBytes)`. */
export type DevicePointer = bigint;

export class DeviceMemory implements Disposable {
  readonly pointer: DevicePointer;
  readonly sizeBytes: number;
  readonly #driver: Driver;
  #open = true;

  constructor(driver: Driver, pointer: DevicePointer, sizeBytes: number) {
    this.#driver = driver;
    this.pointer = pointer;
    this.sizeBytes = sizeBytes;
  }

  /** Waits for the device where work is under way. Idempotent. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#driver.call.cuMemFree_v2(this.pointer);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export class PinnedMemory implements Disposable {
  readonly address: bigint;
  readonly sizeBytes: number;
  readonly #bytes: Uint8Array<ArrayBuffer>;
  readonly #driver: Driver;
  #open = true;

  constructor(driver: Driver, address: bigint, sizeBytes: number) {
    this.#driver = driver;
    this.address = address;
    this.sizeBytes = sizeBytes;
    this.#bytes = viewMemory(address, Math.max(1, sizeBytes));
  }

  /** The memory itself, until it is closed: no view of it may be touched after. Wrap its `.buffer` for other element types. */
  get bytes(): Uint8Array<ArrayBuffer> {
    if (!this.#open) throw new Error('pinned memory was used after it was freed');
    return this.#bytes;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#driver.call.cuMemFreeHost(this.address);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
