// Elementwise work and movement between views with any strides, and the ways in and out of the device's layouts.
#include "element.cuh"

enum Function { Copy, Add, Mul, Affine, Silu, Gelu, QuickGelu };

__device__ __forceinline__ float apply(int function, float x, float b, float factor, float offset) {
  switch (function) {
    case Add: return x + b;
    case Mul: return x * b;
    case Affine: return x * factor + offset;
    case Silu: return silu(x);
    case Gelu: return gelu(x);
    case QuickGelu: return quickGelu(x);
    default: return x;
  }
}

// Where element `index` of a five-axis shape lies; axes from the innermost.
struct Axes {
  int s0, s1, s2, s3;
};

__device__ __forceinline__ i64 place(i64 index, const Axes& sizes, i64 a0, i64 a1, i64 a2, i64 a3, i64 a4) {
  i64 at = index % sizes.s0 * a0;
  index /= sizes.s0;
  at += index % sizes.s1 * a1;
  index /= sizes.s1;
  at += index % sizes.s2 * a2;
  index /= sizes.s2;
  at += index % sizes.s3 * a3;
  return at + index / sizes.s3 * a4;
}

// y = f(x, b) over up to five axes. `octets`: the innermost axis is dense in x and y, and its sizes count eights (b's stride for it
// is 8 or 0 and not used by functions of one operand).
extern "C" __global__ void pointwise(int function, int octets, i64 count, int s0, int s1, int s2, int s3, const T* x, i64 x0, i64 x1, i64 x2,
                                     i64 x3, i64 x4, const T* b, i64 b0, i64 b1, i64 b2, i64 b3, i64 b4, T* y, i64 y0, i64 y1, i64 y2,
                                     i64 y3, i64 y4, float factor, float offset) {
  const Axes sizes = {s0, s1, s2, s3};
  for (i64 index = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; index < count; index += static_cast<i64>(gridDim.x) * blockDim.x) {
    const i64 from = place(index, sizes, x0, x1, x2, x3, x4), to = place(index, sizes, y0, y1, y2, y3, y4);
    const i64 other = b == nullptr ? 0 : place(index, sizes, b0, b1, b2, b3, b4);
    if (octets) {
      Octet value = loadOctet(x + from);
      if (function != Copy) {
#pragma unroll
        for (int j = 0; j < 8; j++) {
          const float operand = b == nullptr ? 0.0f : toFloat(b[other + (b0 == 0 ? 0 : j)]);
          value.at[j] = fromFloat(apply(function, toFloat(value.at[j]), operand, factor, offset));
        }
      }
      storeOctet(y + to, value);
    } else {
      const float operand = b == nullptr ? 0.0f : toFloat(b[other]);
      y[to] = fromFloat(apply(function, toFloat(x[from]), operand, factor, offset));
    }
  }
}

// Nearest neighbour, dense channels-last images. grid (width·factor, height·factor, batch), block ≤ channels/8.
extern "C" __global__ void upsample(const T* x, i64 xBatch, i64 xRow, i64 xColumn, T* y, i64 yBatch, i64 yRow, i64 yColumn, int channels,
                                    int factor) {
  const T* from = x + blockIdx.z * xBatch + blockIdx.y / factor * xRow + blockIdx.x / factor * xColumn;
  T* to = y + blockIdx.z * yBatch + blockIdx.y * yRow + blockIdx.x * yColumn;
  for (int channel = threadIdx.x * 8; channel < channels; channel += blockDim.x * 8) storeOctet(to + channel, loadOctet(from + channel));
}

// Host order to device order: x f32, dense, with `logical` entries along the axis that y may pad (its stride is y1), y any strides.
// Axes from the innermost; the padded axis is the one of size `s1` in y and of `logical` in x.
extern "C" __global__ void importValues(const float* x, T* y, i64 count, int s0, int s1, int s2, int s3, i64 y0, i64 y1, i64 y2, i64 y3, i64 y4,
                                        int logical, i64 x0, i64 x1, i64 x2, i64 x3, i64 x4) {
  const Axes sizes = {s0, s1, s2, s3};
  for (i64 index = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; index < count; index += static_cast<i64>(gridDim.x) * blockDim.x) {
    const int channel = static_cast<int>(index / s0 % s1);
    const float value = channel < logical ? x[place(index, sizes, x0, x1, x2, x3, x4)] : 0.0f;
    y[place(index, sizes, y0, y1, y2, y3, y4)] = fromFloat(value);
  }
}

// Device order to host order: y f32, dense in the order of the axes (innermost first).
extern "C" __global__ void exportValues(const T* x, i64 x0, i64 x1, i64 x2, i64 x3, i64 x4, float* y, i64 count, int s0, int s1, int s2, int s3) {
  const Axes sizes = {s0, s1, s2, s3};
  for (i64 index = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; index < count; index += static_cast<i64>(gridDim.x) * blockDim.x) {
    y[index] = toFloat(x[place(index, sizes, x0, x1, x2, x3, x4)]);
  }
}

__device__ __forceinline__ float stored(const void* data, int type, i64 index) {
  if (type == 0) return static_cast<const float*>(data)[index];
  const unsigned short bits = static_cast<const unsigned short*>(data)[index];
  if (type == 2) return __uint_as_float(static_cast<unsigned int>(bits) << 16);
  unsigned int sign = (bits & 0x8000u) << 16, exponent = (bits >> 10) & 31u, mantissa = bits & 0x3ffu;
  if (exponent == 31u) return __uint_as_float(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0u) return __uint_as_float(sign | ((exponent + 112u) << 23) | (mantissa << 13));
  const float small = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
  return sign ? -small : small;
}

// A stored tensor `[outs, inputs, spatial]` (type 0 f32, 1 f16, 2 bf16) to rows `[…, spatial, paddedInputs]` of a kernel; padding is
// zeroed beforehand. Values beyond the half type's range would become infinite: `overflow` is set then.
extern "C" __global__ void convertKernel(const void* x, int type, i64 count, int inputs, int spatial, int paddedInputs, T* y, int* overflow) {
  for (i64 index = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; index < count; index += static_cast<i64>(gridDim.x) * blockDim.x) {
    const int position = static_cast<int>(index % spatial);
    const i64 rest = index / spatial;
    const int input = static_cast<int>(rest % inputs);
    const i64 out = rest / inputs;
    const float value = stored(x, type, index);
    const T half = fromFloat(value);
    if (isinf(toFloat(half)) && !isinf(value)) *overflow = 1;
    y[(out * spatial + position) * paddedInputs + input] = half;
  }
}

extern "C" __global__ void convertVector(const void* x, int type, i64 count, float* y) {
  for (i64 index = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x; index < count; index += static_cast<i64>(gridDim.x) * blockDim.x) {
    y[index] = stored(x, type, index);
  }
}
