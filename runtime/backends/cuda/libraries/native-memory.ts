/** Memory of the process that stays where it is: what native code keeps pointers to between calls. */
import koffi from 'koffi';

export class NativeMemory implements Disposable {
  readonly address: bigint;
  /** Zeroed at first. Not to be touched after {@link close}. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  #open = true;

  constructor(sizeBytes: number) {
    const length = Math.max(8, sizeBytes);
    // A bigint, or a number where it is small enough for one.
    this.address = BigInt(koffi.alloc('uint8_t', length) as bigint | number);
    const buffer = koffi.view(this.address, length);
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
    this.bytes.fill(0);
  }

  /** The address of 64-bit words, such as pointers. */
  static ofWords(words: readonly (bigint | number)[]): NativeMemory {
    const memory = new NativeMemory(words.length * 8);
    words.forEach((word, index) => memory.view.setBigUint64(index * 8, BigInt.asUintN(64, BigInt(word)), true));
    return memory;
  }

  static ofFloats(values: readonly number[]): NativeMemory {
    const memory = new NativeMemory(values.length * 4);
    values.forEach((value, index) => memory.view.setFloat32(index * 4, value, true));
    return memory;
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    koffi.free(this.address);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Memory that somebody else owns, as bytes. Node can't take views of such memory away: none may be touched after it is freed. */
export function viewMemory(address: bigint, sizeBytes: number): Uint8Array<ArrayBuffer> {
  return new Uint8Array(koffi.view(address, sizeBytes));
}

/** A NUL-terminated string of native code; undefined at address 0. */
export function readText(address: bigint): string | undefined {
  return address === 0n ? undefined : koffi.decode.string(address);
}
