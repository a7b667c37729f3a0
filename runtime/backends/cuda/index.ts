/**
 * The CUDA backend. From graph to device in four rooms: `plan/` fuses a graph into operations and places their buffers, `execution/`
 * binds operations to kernels and tactics and runs them, `kernels/` holds this program's own kernels in CUDA C++, `libraries/` speaks
 * to NVIDIA's libraries. See docs/cuda.md.
 */
export { CudaBackend, type CudaBackendOptions } from './cuda-backend.js';
