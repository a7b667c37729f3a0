/** The CUDA driver's functions and status codes (cuda.h of CUDA 12 and 13; every one exists since CUDA 12.3). */
import type { ErrorCode } from '../../../errors/index.js';
import type { Signatures } from './native-library.js';
import type { StatusCodes } from './status.js';

export const driverSignatures = {
  cuInit: ['uint'],
  cuDriverGetVersion: ['void *'],
  cuDeviceGetCount: ['void *'],
  cuDeviceGet: ['void *', 'int'],
  cuDeviceGetName: ['void *', 'int', 'int'],
  cuDeviceGetUuid_v2: ['void *', 'int'],
  cuDeviceTotalMem_v2: ['void *', 'int'],
  cuDeviceGetAttribute: ['void *', 'int', 'int'],
  cuDevicePrimaryCtxRetain: ['void *', 'int'],
  cuDevicePrimaryCtxRelease_v2: ['int'],
  cuCtxSetCurrent: ['uint64_t'],
  cuCtxSynchronize: [],
  cuMemGetInfo_v2: ['void *', 'void *'],
  cuMemAlloc_v2: ['void *', 'size_t'],
  cuMemFree_v2: ['uint64_t'],
  cuMemHostAlloc: ['void *', 'size_t', 'uint'],
  cuMemFreeHost: ['uint64_t'],
  cuMemcpyHtoD_v2: ['uint64_t', 'void *', 'size_t'],
  cuMemcpyDtoH_v2: ['void *', 'uint64_t', 'size_t'],
  cuMemcpyDtoD_v2: ['uint64_t', 'uint64_t', 'size_t'],
  cuMemcpyHtoDAsync_v2: ['uint64_t', 'void *', 'size_t', 'uint64_t'],
  cuMemcpyDtoHAsync_v2: ['void *', 'uint64_t', 'size_t', 'uint64_t'],
  cuMemcpyDtoDAsync_v2: ['uint64_t', 'uint64_t', 'size_t', 'uint64_t'],
  cuMemsetD8Async: ['uint64_t', 'uint', 'size_t', 'uint64_t'],
  cuMemsetD16Async: ['uint64_t', 'uint', 'size_t', 'uint64_t'],
  cuMemsetD32Async: ['uint64_t', 'uint', 'size_t', 'uint64_t'],
  cuStreamCreateWithPriority: ['void *', 'uint', 'int'],
  cuStreamDestroy_v2: ['uint64_t'],
  cuStreamSynchronize: ['uint64_t'],
  cuStreamWaitEvent: ['uint64_t', 'uint64_t', 'uint'],
  cuStreamBeginCapture_v2: ['uint64_t', 'int'],
  cuStreamEndCapture: ['uint64_t', 'void *'],
  cuEventCreate: ['void *', 'uint'],
  cuEventRecord: ['uint64_t', 'uint64_t'],
  cuEventQuery: ['uint64_t'],
  cuEventSynchronize: ['uint64_t'],
  cuEventElapsedTime: ['void *', 'uint64_t', 'uint64_t'],
  cuEventDestroy_v2: ['uint64_t'],
  cuGraphInstantiateWithFlags: ['void *', 'uint64_t', 'uint64_t'],
  cuGraphLaunch: ['uint64_t', 'uint64_t'],
  cuGraphUpload: ['uint64_t', 'uint64_t'],
  cuGraphExecDestroy: ['uint64_t'],
  cuGraphDestroy: ['uint64_t'],
  cuGraphGetNodes: ['uint64_t', 'void *', 'void *'],
  cuGraphNodeGetType: ['uint64_t', 'void *'],
  cuGraphMemsetNodeGetParams: ['uint64_t', 'void *'],
  /** node, other nodes, edges' data, count. */
  cuGraphNodeGetDependencies_v2: ['uint64_t', 'void *', 'void *', 'void *'],
  cuGraphNodeGetDependentNodes_v2: ['uint64_t', 'void *', 'void *', 'void *'],
  /** graph, from, to, edges' data, count. */
  cuGraphAddDependencies_v2: ['uint64_t', 'void *', 'void *', 'void *', 'size_t'],
  cuGraphDestroyNode: ['uint64_t'],
  cuModuleLoadData: ['void *', 'void *'],
  cuModuleUnload: ['uint64_t'],
  cuModuleGetFunction: ['void *', 'uint64_t', 'str'],
  cuModuleGetGlobal_v2: ['void *', 'void *', 'uint64_t', 'str'],
  cuFuncSetAttribute: ['uint64_t', 'int', 'int'],
  cuFuncGetAttribute: ['void *', 'int', 'uint64_t'],
  cuOccupancyMaxActiveBlocksPerMultiprocessor: ['void *', 'uint64_t', 'int', 'size_t'],
  cuLaunchKernel: ['uint64_t', 'uint', 'uint', 'uint', 'uint', 'uint', 'uint', 'uint', 'uint64_t', 'void *', 'void *'],
  /** configuration, function, parameters, extra. */
  cuLaunchKernelEx: ['void *', 'uint64_t', 'void *', 'void *'],
  cuLaunchCooperativeKernel: ['uint64_t', 'uint', 'uint', 'uint', 'uint', 'uint', 'uint', 'uint', 'uint64_t', 'void *'],
  /** map, type, axes, address, sizes, strides, box, element strides, interleave, swizzle, promotion, filling. */
  cuTensorMapEncodeTiled: ['uint64_t', 'int', 'uint', 'uint64_t', 'void *', 'void *', 'void *', 'void *', 'int', 'int', 'int', 'int'],
  cuIpcGetMemHandle: ['void *', 'uint64_t'],
  cuIpcOpenMemHandle_v2: ['void *', 'Bytes64', 'uint'],
  cuIpcCloseMemHandle: ['uint64_t'],
} as const satisfies Signatures;

export const cuErrorNotReady = 600;
export const cuErrorOutOfMemory = 2;

export const deviceAttribute = {
  maxSharedMemoryPerBlockOptin: 97,
  l2CacheBytes: 38,
  multiprocessors: 16,
  computeCapabilityMajor: 75,
  computeCapabilityMinor: 76,
  clockKilohertz: 13,
} as const;

export const functionAttribute = {
  staticSharedBytes: 1,
  localBytes: 3,
  registers: 4,
  maxDynamicSharedBytes: 8,
} as const;

/** CUlaunchConfig with one CUlaunchAttribute behind it; offsets in bytes. */
export const launchConfigLayout = {
  sizeBytes: 56 + 72,
  stream: 32,
  attributes: 40,
  attributeCount: 48,
  attributeId: 56,
  attributeValue: 64,
} as const;
export const programmaticStreamSerialization = 6;

/** CUDA_MEMSET_NODE_PARAMS; offsets in bytes. */
export const memsetNodeLayout = { sizeBytes: 40, destination: 0, value: 16, elementSize: 20, width: 24, height: 32 } as const;
/** CUgraphEdgeData; all zero: the whole of one node before the whole of the next. */
export const graphEdgeBytes = 8;

/** CU_GRAPH_NODE_TYPE_*, in order. */
export const graphNodeKinds = ['kernel', 'memcpy', 'memset', 'host', 'graph', 'empty', 'waitEvent', 'eventRecord'] as const;

/** Statuses after which the context only returns the same error: cuda.h says "the process must be terminated". */
const stickyStatuses = new Set([214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 722, 999]);
const unavailableStatuses = new Set([3, 34, 35, 36, 46, 100, 101, 102, 803, 804, 805]);
/** Kernel images that do not fit the device or the driver. */
const imageStatuses = new Set([200, 209, 218, 221, 222, 223, 225]);

export function driverStatusCodes(describe: (status: number) => string): StatusCodes {
  return { library: 'CUDA driver', describe, classify: classifyDriverStatus };
}

function classifyDriverStatus(status: number): ErrorCode {
  if (status === cuErrorOutOfMemory) return 'CUDA_OUT_OF_MEMORY';
  if (unavailableStatuses.has(status)) return 'CUDA_UNAVAILABLE';
  if (imageStatuses.has(status)) return 'ENGINE_BUILD_FAILED';
  return stickyStatuses.has(status) ? 'CUDA_FAILED' : 'INTERNAL';
}
