/** cuDNN's descriptors: everything it is told and tells goes through typed attributes of these. */
import { attributeType, cudnnSignatures, descriptorType, type AttributeKind, type DescriptorKind } from './cudnn-functions.js';
import { checked, type CheckedFunctions, type NativeLibrary, type StatusFunctions } from './native-library.js';
import { check, type StatusCodes } from './status.js';

export type CudnnFunctions = CheckedFunctions<typeof cudnnSignatures>;

/** What descriptors need of the library. */
export class CudnnCalls {
  readonly call: CudnnFunctions;
  readonly unchecked: StatusFunctions<typeof cudnnSignatures>;
  readonly codes: StatusCodes;
  readonly version: string;

  constructor(library: NativeLibrary, codes: Omit<StatusCodes, 'describe'>) {
    const text = library.declare('cudnnGetErrorString', 'str', ['int']);
    const lastError = library.declare('cudnnGetLastErrorString', 'int', ['void *', 'size_t']);
    const describe = (status: number): string => {
      const message = new Uint8Array(1024);
      lastError(message, message.length);
      const detail = new TextDecoder().decode(message.subarray(0, Math.max(0, message.indexOf(0)))).trim();
      return [text(status) ?? `status ${status}`, ...(detail === '' ? [] : [detail])].join(': ');
    };
    this.codes = { ...codes, describe };
    this.unchecked = library.bind(cudnnSignatures);
    this.call = checked(this.unchecked, (name, status) => check(this.codes, name, status));
    const version = Number(library.declare('cudnnGetVersion', 'size_t', [])());
    this.version = `${Math.floor(version / 10_000)}.${Math.floor((version % 10_000) / 100)}.${version % 100}`;
  }
}

export class Descriptor implements Disposable {
  readonly handle: bigint;
  readonly #calls: CudnnCalls;
  #open = true;

  constructor(calls: CudnnCalls, kind: DescriptorKind) {
    this.#calls = calls;
    const handle = new BigUint64Array(1);
    calls.call.cudnnBackendCreateDescriptor(descriptorType[kind], handle);
    this.handle = handle[0] ?? 0n;
  }

  /** Enumerations and booleans are passed as numbers. */
  set(name: number, kind: AttributeKind, values: readonly number[] | readonly bigint[] | readonly Descriptor[] | Uint8Array): this {
    this.#calls.call.cudnnBackendSetAttribute(this.handle, name, attributeType[kind], values.length, encode(kind, values));
    return this;
  }

  int64s(name: number): readonly bigint[] {
    return [...this.#get(name, 'int64', (count) => new BigInt64Array(count))];
  }

  enums(name: number, kind: AttributeKind): readonly number[] {
    return [...this.#get(name, kind, (count) => new Int32Array(count))];
  }

  bytes(name: number): Uint8Array {
    return this.#get(name, 'char', (count) => new Uint8Array(count));
  }

  /**
   * Descriptors inside this one, as new descriptors that the caller closes. cuDNN fills those it is given; `most` is for
   * attributes whose count it does not tell beforehand.
   */
  descriptors(name: number, kind: DescriptorKind, most?: number): readonly Descriptor[] {
    const inner: Descriptor[] = [];
    const found = new BigInt64Array(1);
    const get = (values: BigUint64Array | null): void => {
      this.#calls.call.cudnnBackendGetAttribute(this.handle, name, attributeType.descriptor, inner.length, found, values);
    };
    try {
      if (most === undefined) get(null);
      for (let count = most ?? Number(found[0]); count > 0; count--) inner.push(new Descriptor(this.#calls, kind));
      if (inner.length > 0) get(BigUint64Array.from(inner, ({ handle }) => handle));
      for (const unused of inner.splice(Number(found[0]))) unused.close();
      return inner;
    } catch (error) {
      for (const descriptor of inner) descriptor.close();
      throw error;
    }
  }

  finalize(): this {
    this.#calls.call.cudnnBackendFinalize(this.handle);
    return this;
  }

  /** Finalises, and tells what cuDNN says where it refuses. */
  tryFinalize(): { readonly refusal: string } | undefined {
    const status = this.#calls.unchecked.cudnnBackendFinalize(this.handle);
    return status === 0 ? undefined : { refusal: this.#calls.codes.describe(status) };
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#calls.call.cudnnBackendDestroyDescriptor(this.handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #get<T extends ArrayBufferView & { readonly length: number; subarray(start: number, end: number): T }>(
    name: number,
    kind: AttributeKind,
    allocate: (count: number) => T,
  ): T {
    const found = new BigInt64Array(1);
    const { call } = this.#calls;
    call.cudnnBackendGetAttribute(this.handle, name, attributeType[kind], 0, found, null);
    const count = Number(found[0]);
    const values = allocate(count);
    if (count > 0) call.cudnnBackendGetAttribute(this.handle, name, attributeType[kind], count, found, values);
    return values.subarray(0, Number(found[0]));
  }
}

function encode(kind: AttributeKind, values: readonly number[] | readonly bigint[] | readonly Descriptor[] | Uint8Array): ArrayBufferView {
  if (values instanceof Uint8Array) return values;
  const words = values.map((value) => (value instanceof Descriptor ? value.handle : value));
  switch (kind) {
    case 'handle':
    case 'pointer':
    case 'descriptor':
      return BigUint64Array.from(words, BigInt);
    case 'int64':
      return BigInt64Array.from(words, BigInt);
    case 'float':
      return Float32Array.from(words, Number);
    case 'boolean':
    case 'char':
      return Uint8Array.from(words, Number);
    default:
      return Int32Array.from(words, Number);
  }
}
