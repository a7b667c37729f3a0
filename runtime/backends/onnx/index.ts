/**
 * The portable backend: segments as ONNX models run by onnxruntime-node on the CPU. Knows graphs, engines and weights; knows
 * neither which model it runs nor how its communicator reaches the peers.
 */
export { OnnxBackend, type OnnxBackendOptions } from './onnx-backend.js';
