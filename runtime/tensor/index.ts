/** The ground floor: element types, shapes and host tensors. Knows nothing of graphs, models or files. */
export { type DType, type DTypeArrays } from './dtype.js';
export { byteLength, elementCount, float32, int64, tensor, type Shape, type Tensor } from './tensor.js';
export { bfloat16ToFloat32, float16ToFloat32, float16ToNumber, float32ToFloat16, numberToFloat16 } from './float16.js';
export { Generator } from './random.js';
