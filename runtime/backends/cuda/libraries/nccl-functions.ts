/** NCCL's functions and codes (nccl.h of NCCL 2.18 and newer). */
import type { ErrorCode } from '../../../errors/index.js';
import type { Signatures } from './native-library.js';

export const ncclSignatures = {
  ncclGetVersion: ['void *'],
  ncclGetUniqueId: ['void *'],
  ncclCommInitRank: ['void *', 'int', 'Bytes128', 'int'],
  /** communicator, color, key, where the new one goes, configuration. */
  ncclCommSplit: ['uint64_t', 'int', 'int', 'void *', 'void *'],
  ncclCommDestroy: ['uint64_t'],
  ncclCommAbort: ['uint64_t'],
  ncclCommGetAsyncError: ['uint64_t', 'void *'],
  ncclGroupStart: [],
  ncclGroupEnd: [],
  /** send buffer, receive buffer, count per rank, type, communicator, stream. */
  ncclAllGather: ['uint64_t', 'uint64_t', 'size_t', 'int', 'uint64_t', 'uint64_t'],
  /** send buffer, receive buffer, count, type, operation, communicator, stream. */
  ncclAllReduce: ['uint64_t', 'uint64_t', 'size_t', 'int', 'int', 'uint64_t', 'uint64_t'],
  /** buffer, count, type, peer, communicator, stream. */
  ncclSend: ['uint64_t', 'size_t', 'int', 'int', 'uint64_t', 'uint64_t'],
  ncclRecv: ['uint64_t', 'size_t', 'int', 'int', 'uint64_t', 'uint64_t'],
} as const satisfies Signatures;

/**
 * ncclConfig_t as of NCCL 2.18, which newer ones take with its size and version: a communicator that waits, whose kernels have at most so
 * many blocks.
 */
export function ncclConfiguration(maxBlocks: number): Uint8Array {
  const bytes = new Uint8Array(48);
  const view = new DataView(bytes.buffer);
  const undefinedInt = -0x80000000;
  view.setBigUint64(0, BigInt(bytes.length), true);
  [0xcafebeef, 21_800].forEach((word, index) => {
    view.setUint32(8 + index * 4, word, true);
  });
  const [blocking, cluster, minBlocks, splitShare] = [1, undefinedInt, 1, 0];
  [blocking, cluster, minBlocks, maxBlocks].forEach((value, index) => {
    view.setInt32(16 + index * 4, value, true);
  });
  // After the name of a network, which stays null.
  view.setInt32(40, splitShare, true);
  return bytes;
}

export const uniqueIdBytes = 128;
export const ncclDataType = { u8: 1, i32: 2, f16: 6, f32: 7, bf16: 9 } as const;
export const ncclReduction = { sum: 0, product: 1, max: 2, min: 3 } as const;
export const ncclInProgress = 7;

/** A peer that went, a link that broke, a device that failed: all but wrong arguments. */
export function classifyNcclStatus(status: number): ErrorCode {
  const [invalidArgument, invalidUsage] = [4, 5];
  return status === invalidArgument || status === invalidUsage ? 'INTERNAL' : 'CUDA_FAILED';
}
