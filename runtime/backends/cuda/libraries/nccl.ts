/**
 * NCCL: collectives between the devices of a gang, enqueued on streams and capturable in graphs. Every rank enqueues the same
 * operations in the same order; graphs are destroyed before the communicators they use.
 */
import { SdxlError } from '../../../errors/index.js';
import type { LibrarySearch } from './library-search.js';
import type { DevicePointer } from './memory.js';
import { checked, type CheckedFunctions, type NativeLibrary, type StatusFunctions } from './native-library.js';
import {
  classifyNcclStatus,
  ncclConfiguration,
  ncclDataType,
  ncclInProgress,
  ncclReduction,
  ncclSignatures,
  uniqueIdBytes,
} from './nccl-functions.js';
import { check, statusError, type StatusCodes } from './status.js';
import type { Stream } from './stream.js';

export type NcclType = keyof typeof ncclDataType;

export class Nccl {
  readonly version: string;
  readonly call: CheckedFunctions<typeof ncclSignatures>;
  readonly unchecked: StatusFunctions<typeof ncclSignatures>;
  readonly codes: StatusCodes;

  private constructor(library: NativeLibrary) {
    const text = library.declare('ncclGetErrorString', 'str', ['int']);
    const last = library.declare('ncclGetLastError', 'str', ['uint64_t']);
    const describe = (status: number): string => {
      const detail = last(0n) ?? '';
      return `${text(status) ?? `status ${status}`}${detail === '' ? '' : ` (${detail})`}`;
    };
    this.codes = { library: 'NCCL', describe, classify: classifyNcclStatus };
    this.unchecked = library.bind(ncclSignatures);
    this.call = checked(this.unchecked, (name, status) => check(this.codes, name, status));
    const version = new Int32Array(1);
    this.call.ncclGetVersion(version);
    const number = version[0] ?? 0;
    this.version = `${Math.floor(number / 10_000)}.${Math.floor((number % 10_000) / 100)}.${number % 100}`;
  }

  /** @throws SdxlError CUDA_UNAVAILABLE where it is not found. */
  static async open(search: LibrarySearch): Promise<Nccl> {
    return new Nccl(await search.load('nccl'));
  }

  /** 128 bytes, made by one rank and given to all. That rank's process stays reachable for the others until all have joined. */
  uniqueId(): Uint8Array {
    const id = new Uint8Array(uniqueIdBytes);
    this.call.ncclGetUniqueId(id);
    return id;
  }

  /**
   * Joins with the current device. Blocks the thread until every rank has come, so that the calls of all ranks are made at about
   * the same time and a watchdog stands outside.
   */
  join(id: Uint8Array, rank: number, worldSize: number): NcclCommunicator {
    const handle = new BigUint64Array(1);
    this.call.ncclCommInitRank(handle, worldSize, { bytes: id }, rank);
    return new NcclCommunicator(this, handle[0] ?? 0n, rank, worldSize);
  }

  /** What `enqueue` sends and receives becomes one kernel. Synchronous: a group belongs to a thread. */
  group(enqueue: () => void): void {
    this.call.ncclGroupStart();
    try {
      enqueue();
    } catch (error) {
      // The group must be ended whatever happens; its own complaint follows from the first error.
      this.unchecked.ncclGroupEnd();
      throw error;
    }
    this.call.ncclGroupEnd();
  }
}

export class NcclCommunicator implements Disposable {
  readonly rank: number;
  readonly worldSize: number;
  readonly #nccl: Nccl;
  readonly #handle: bigint;
  #open = true;

  constructor(nccl: Nccl, handle: bigint, rank: number, worldSize: number) {
    this.#nccl = nccl;
    this.#handle = handle;
    this.rank = rank;
    this.worldSize = worldSize;
  }

  /** `destination` has `worldSize · count` elements, in rank order; the own part may already lie in its place. */
  allGather(source: DevicePointer, destination: DevicePointer, count: number, type: NcclType, stream: Stream): void {
    this.#nccl.call.ncclAllGather(source, destination, count, ncclDataType[type], this.#live, stream.handle);
  }

  allReduce(
    source: DevicePointer,
    destination: DevicePointer,
    count: number,
    type: NcclType,
    reduction: keyof typeof ncclReduction,
    stream: Stream,
  ): void {
    const { call } = this.#nccl;
    call.ncclAllReduce(source, destination, count, ncclDataType[type], ncclReduction[reduction], this.#live, stream.handle);
  }

  send(source: DevicePointer, count: number, type: NcclType, peer: number, stream: Stream): void {
    this.#nccl.call.ncclSend(source, count, ncclDataType[type], peer, this.#live, stream.handle);
  }

  receive(destination: DevicePointer, count: number, type: NcclType, peer: number, stream: Stream): void {
    this.#nccl.call.ncclRecv(destination, count, ncclDataType[type], peer, this.#live, stream.handle);
  }

  /**
   * Another communicator of the same ranks, whose kernels have at most so many blocks: what it does runs beside what this one does. Blocks
   * the thread until every rank has come.
   */
  split(maxBlocks: number): NcclCommunicator {
    const handle = new BigUint64Array(1);
    this.#nccl.call.ncclCommSplit(this.#live, 0, this.rank, handle, ncclConfiguration(maxBlocks));
    return new NcclCommunicator(this.#nccl, handle[0] ?? 0n, this.rank, this.worldSize);
  }

  /** @throws SdxlError CUDA_FAILED where an operation that was enqueued has failed since. */
  checkAsync(): void {
    const error = new Int32Array(1);
    this.#nccl.call.ncclCommGetAsyncError(this.#live, error);
    const status = error[0] ?? 0;
    if (status !== 0 && status !== ncclInProgress) throw statusError(this.#nccl.codes, 'an operation between devices', status);
  }

  /** Ends operations that wait for a peer that is gone. Every rank must abort. */
  abort(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#nccl.call.ncclCommAbort(this.#handle);
  }

  /** Waits for what is under way. */
  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#nccl.call.ncclCommDestroy(this.#handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  get #live(): bigint {
    if (this.#open) return this.#handle;
    throw new SdxlError('CUDA_FAILED', 'exchanges between devices were ended, as a rank has failed: start again');
  }
}
