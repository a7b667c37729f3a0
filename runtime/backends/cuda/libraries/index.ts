/**
 * NVIDIA's libraries by their C interfaces, through FFI: the driver, NVRTC, cuBLASLt, cuDNN and NCCL, and the timing of what they
 * offer. Knows problems (a product, a convolution), never a graph or a model.
 */
export type { Attention, AttentionOperands, AttentionProblem, AttentionStrides } from './attention.js';
export { convolutionOutputSize, type Convolution, type ConvolutionOperands, type ConvolutionProblem } from './convolution.js';
export { closeAll, closeQuietly } from './close-all.js';
export { ClearedWorkspaces } from './cleared-workspaces.js';
export { CubinCache, cubinKey } from './cubin-cache.js';
export { CublasLt } from './cublaslt.js';
export { Cudnn } from './cudnn.js';
export type { CudnnOperation } from './cudnn-operation.js';
export type { CudnnPlan } from './cudnn-plan.js';
export { Device, type DeviceProperties } from './device.js';
export { Driver } from './driver.js';
export type { Event, WaitOptions } from './event.js';
export type { ExecutableGraph, Graph } from './graph.js';
export { KernelArguments, type Dim3, type Kernel, type KernelArgument, type KernelModule, type KernelResources } from './kernel.js';
export { libraryPathVariable, LibrarySearch, type LibraryName, type LibrarySearchOptions } from './library-search.js';
export {
  deserializeMatmulTactic,
  matmulWorkspaceBytes,
  serializeMatmulTactic,
  type Matmul,
  type MatmulOperands,
  type MatmulProblem,
  type MatmulTactic,
  type Workspace,
} from './matmul.js';
export type { DeviceMemory, DevicePointer, PinnedMemory } from './memory.js';
export { Nccl, type NcclCommunicator, type NcclType } from './nccl.js';
export { architectureName, Nvrtc, type KernelProgram } from './nvrtc.js';
export type { Stream } from './stream.js';
export { tensorMap, type TensorMapOptions } from './tensor-map.js';
export { TimingCache, type TimingEntry, type TimingIdentity } from './timing-cache.js';
export { Tuner, type Candidate, type Ranked, type Tuned, type TuneOptions } from './tuner.js';
