/** cuDNN's backend interface: functions, numbers and status codes (cudnn_graph.h of cuDNN 9; SDPA as one operation since 9.13). */
import type { ErrorCode } from '../../../errors/index.js';
import type { Signatures } from './native-library.js';

export const cudnnSignatures = {
  cudnnCreate: ['void *'],
  cudnnDestroy: ['uint64_t'],
  cudnnSetStream: ['uint64_t', 'uint64_t'],
  cudnnBackendCreateDescriptor: ['int', 'void *'],
  cudnnBackendDestroyDescriptor: ['uint64_t'],
  cudnnBackendFinalize: ['uint64_t'],
  /** descriptor, attribute, type, count, values. */
  cudnnBackendSetAttribute: ['uint64_t', 'int', 'int', 'int64_t', 'void *'],
  /** descriptor, attribute, type, requested, found, values. */
  cudnnBackendGetAttribute: ['uint64_t', 'int', 'int', 'int64_t', 'void *', 'void *'],
  /** handle, plan, variant pack. */
  cudnnBackendExecute: ['uint64_t', 'uint64_t', 'uint64_t'],
} as const satisfies Signatures;

export const descriptorType = {
  pointwise: 0,
  convolution: 1,
  engine: 2,
  engineConfig: 3,
  heuristic: 4,
  plan: 5,
  knobChoice: 7,
  operationConvolution: 10,
  operationPointwise: 13,
  operationGraph: 15,
  variantPack: 16,
  tensor: 17,
  deviceProperties: 38,
  operationAttention: 41,
} as const;
export type DescriptorKind = keyof typeof descriptorType;

export const attributeType = {
  handle: 0,
  dataType: 1,
  boolean: 2,
  int64: 3,
  float: 4,
  pointer: 6,
  convolutionMode: 7,
  heuristicMode: 8,
  knobType: 9,
  pointwiseMode: 14,
  descriptor: 15,
  behaviorNote: 19,
  char: 24,
} as const;
export type AttributeKind = keyof typeof attributeType;

export const cudnnDataType = { f32: 0, f16: 2, bf16: 9 } as const;
export const pointwiseAdd = 0;
export const crossCorrelation = 1;
export const heuristicMode = { instant: 0, b: 1, fallback: 2, a: 3 } as const;
export const runtimeCompilation = 0;

export const attribute = {
  pointwiseMode: 0,
  pointwisePrecision: 1,
  convolutionPrecision: 100,
  convolutionMode: 101,
  convolutionDilations: 102,
  convolutionStrides: 103,
  convolutionPostPadding: 104,
  convolutionPrePadding: 105,
  convolutionSpatialDims: 106,
  heuristicMode: 200,
  heuristicGraph: 201,
  heuristicResults: 202,
  heuristicDevice: 204,
  configEngine: 300,
  configKnobs: 302,
  planHandle: 400,
  planConfig: 401,
  planWorkspace: 402,
  planJson: 405,
  planDevice: 407,
  knobType: 600,
  knobValue: 601,
  convolutionForwardAlpha: 700,
  convolutionForwardBeta: 701,
  convolutionForwardDescriptor: 702,
  convolutionForwardW: 703,
  convolutionForwardX: 704,
  convolutionForwardY: 705,
  pointwiseDescriptor: 750,
  pointwiseX: 751,
  pointwiseB: 752,
  pointwiseY: 753,
  graphHandle: 800,
  graphOperations: 801,
  tensorAlignment: 900,
  tensorType: 901,
  tensorDims: 902,
  tensorStrides: 903,
  tensorId: 906,
  tensorVirtual: 907,
  tensorByValue: 908,
  packIds: 1000,
  packPointers: 1001,
  packWorkspace: 1003,
  engineIndex: 1301,
  engineBehaviorNotes: 1305,
  deviceJson: 2702,
  attentionQ: 2800,
  attentionK: 2801,
  attentionV: 2802,
  attentionO: 2803,
  attentionScale: 2805,
} as const;

/** Status codes come in thousands by category. */
export function classifyCudnnStatus(status: number): ErrorCode {
  const [deviceAllocation, subLibraryMissing] = [4004, 3009];
  if (status === deviceAllocation) return 'CUDA_OUT_OF_MEMORY';
  if (status === subLibraryMissing) return 'CUDA_UNAVAILABLE';
  const categories: Readonly<Record<number, ErrorCode>> = {
    1: 'CUDA_UNAVAILABLE',
    2: 'INTERNAL',
    3: 'ENGINE_BUILD_FAILED',
    4: 'ENGINE_BUILD_FAILED',
    5: 'CUDA_FAILED',
  };
  return categories[Math.floor(status / 1000)] ?? 'INTERNAL';
}
