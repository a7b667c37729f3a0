/** cuBLASLt's functions, attributes and status codes (cublasLt.h of CUDA 12 and 13). */
import type { ErrorCode } from '../../../errors/index.js';
import type { Signatures } from './native-library.js';

export const cublasLtSignatures = {
  cublasLtCreate: ['void *'],
  cublasLtDestroy: ['uint64_t'],
  cublasLtMatrixLayoutCreate: ['void *', 'int', 'uint64_t', 'uint64_t', 'int64_t'],
  cublasLtMatrixLayoutSetAttribute: ['uint64_t', 'int', 'void *', 'size_t'],
  cublasLtMatrixLayoutDestroy: ['uint64_t'],
  cublasLtMatmulDescCreate: ['void *', 'int', 'int'],
  cublasLtMatmulDescSetAttribute: ['uint64_t', 'int', 'void *', 'size_t'],
  cublasLtMatmulDescDestroy: ['uint64_t'],
  cublasLtMatmulPreferenceCreate: ['void *'],
  cublasLtMatmulPreferenceSetAttribute: ['uint64_t', 'int', 'void *', 'size_t'],
  cublasLtMatmulPreferenceDestroy: ['uint64_t'],
  /** light handle, operation, A, B, C, D, preference, requested, results, returned. */
  cublasLtMatmulAlgoGetHeuristic: [
    'uint64_t',
    'uint64_t',
    'uint64_t',
    'uint64_t',
    'uint64_t',
    'uint64_t',
    'uint64_t',
    'int',
    'void *',
    'void *',
  ],
  /** light handle, operation, A, B, C, D, algorithm, result. */
  cublasLtMatmulAlgoCheck: ['uint64_t', 'uint64_t', 'uint64_t', 'uint64_t', 'uint64_t', 'uint64_t', 'void *', 'void *'],
  cublasLtMatmulAlgoCapGetAttribute: ['void *', 'int', 'void *', 'size_t', 'void *'],
  cublasLtMatmulAlgoConfigSetAttribute: ['void *', 'int', 'void *', 'size_t'],
  cublasLtMatmulAlgoConfigGetAttribute: ['void *', 'int', 'void *', 'size_t', 'void *'],
  /** light handle, operation, alpha, A, layout, B, layout, beta, C, layout, D, layout, algorithm, workspace, its bytes, stream. */
  cublasLtMatmul: [
    'uint64_t',
    'uint64_t',
    'void *',
    'uint64_t',
    'uint64_t',
    'uint64_t',
    'uint64_t',
    'void *',
    'uint64_t',
    'uint64_t',
    'uint64_t',
    'uint64_t',
    'void *',
    'uint64_t',
    'size_t',
    'uint64_t',
  ],
} as const satisfies Signatures;

/** cudaDataType_t. */
export const cudaDataType = { f16: 2, bf16: 14, f32: 0 } as const;
export const compute32F = 68;
export const transposed = 1;

export const layoutAttribute = { batchCount: 5, stridedBatchOffset: 6 } as const;
export const matmulAttribute = {
  transposeA: 3,
  transposeB: 4,
  epilogue: 7,
  biasPointer: 8,
  multiprocessors: 15,
  biasDataType: 26,
} as const;
export const preferenceAttribute = {
  maxWorkspaceBytes: 1,
  minAlignmentA: 5,
  minAlignmentB: 6,
  minAlignmentC: 7,
  minAlignmentD: 8,
} as const;
export const epilogue = { none: 1, bias: 4 } as const;

export const algoAttribute = { id: 0, tile: 1, splitK: 2, reduction: 3, swizzle: 4, custom: 5, stages: 6, inner: 7, cluster: 8 } as const;
export const capability = { tiles: 6, customMax: 7, stages: 13 } as const;

/** cublasLtMatmulAlgo_t, and the heuristic's result around it: algorithm, workspace, state, waves. */
export const algoBytes = 64;
export const resultLayout = { sizeBytes: 96, workspace: 64, state: 72, waves: 76 } as const;

/** CUBLASLT_MATMUL_TILE_* by name, for people. */
export const statusNames: Readonly<Record<number, string>> = {
  1: 'NOT_INITIALIZED',
  3: 'ALLOC_FAILED',
  7: 'INVALID_VALUE',
  8: 'ARCH_MISMATCH',
  11: 'MAPPING_ERROR',
  13: 'EXECUTION_FAILED',
  14: 'INTERNAL_ERROR',
  15: 'NOT_SUPPORTED',
  16: 'LICENSE_ERROR',
};

export function classifyCublasStatus(status: number): ErrorCode {
  const codes: Readonly<Record<number, ErrorCode>> = {
    1: 'CUDA_UNAVAILABLE',
    3: 'CUDA_OUT_OF_MEMORY',
    8: 'CUDA_UNAVAILABLE',
    13: 'CUDA_FAILED',
    14: 'CUDA_FAILED',
    15: 'ENGINE_BUILD_FAILED',
  };
  return codes[status] ?? 'INTERNAL';
}
