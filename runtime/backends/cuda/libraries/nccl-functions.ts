/** NCCL's functions and codes (nccl.h of NCCL 2.18 and newer). */
import type { ErrorCode } from '../../../errors/index.js';
import type { Signatures } from './native-library.js';

export const ncclSignatures = {
  ncclGetVersion: ['void *'],
  ncclGetUniqueId: ['void *'],
  ncclCommInitRank: ['void *', 'int', 'Bytes128', 'int'],
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

export const uniqueIdBytes = 128;
export const ncclDataType = { u8: 1, i32: 2, f16: 6, f32: 7, bf16: 9 } as const;
export const ncclReduction = { sum: 0, product: 1, max: 2, min: 3 } as const;
export const ncclInProgress = 7;

/** A peer that went, a link that broke, a device that failed: all but wrong arguments. */
export function classifyNcclStatus(status: number): ErrorCode {
  const [invalidArgument, invalidUsage] = [4, 5];
  return status === invalidArgument || status === invalidUsage ? 'INTERNAL' : 'CUDA_FAILED';
}
