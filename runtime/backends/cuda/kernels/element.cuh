// The 16-bit element type of a component, `T`: fp16, or bf16 where ELEMENT_BF16 is 1. Arithmetic is in fp32 throughout.
#pragma once

#if ELEMENT_BF16
#include <cuda_bf16.h>
typedef __nv_bfloat16 T;
__device__ __forceinline__ float toFloat(T value) { return __bfloat162float(value); }
__device__ __forceinline__ T fromFloat(float value) { return __float2bfloat16_rn(value); }
#else
#include <cuda_fp16.h>
typedef __half T;
__device__ __forceinline__ float toFloat(T value) { return __half2float(value); }
__device__ __forceinline__ T fromFloat(float value) { return __float2half_rn(value); }
#endif

typedef long long i64;

// Eight elements, moved as one 16-byte access. Channels of images and columns of matrices are multiples of eight.
struct alignas(16) Octet {
  T at[8];
};

__device__ __forceinline__ Octet loadOctet(const T* from) {
  const uint4 raw = *reinterpret_cast<const uint4*>(from);
  return *reinterpret_cast<const Octet*>(&raw);
}

__device__ __forceinline__ void storeOctet(T* to, const Octet& value) {
  *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(&value);
}

__device__ __forceinline__ float silu(float x) { return __fdividef(x, 1.0f + __expf(-x)); }
__device__ __forceinline__ float quickGelu(float x) { return __fdividef(x, 1.0f + __expf(-1.702f * x)); }

// x·Φ(x), the exact form: SDXL's GELU is erf's, not tanh's. erfc by Abramowitz and Stegun 7.1.26, whose error of 1.5e-7 lies far
// below a 16-bit element's, with two instructions of the special-function unit where erff() takes a few dozen others.
__device__ __forceinline__ float gelu(float x) {
  const float z = fabsf(x) * 0.70710678f;
  const float t = __fdividef(1.0f, fmaf(0.3275911f, z, 1.0f));
  const float polynomial = t * fmaf(t, fmaf(t, fmaf(t, fmaf(t, 1.061405429f, -1.453152027f), 1.421413741f), -0.284496736f), 0.254829592f);
  const float tail = 0.5f * x * polynomial * __expf(-z * z);
  return x < 0.0f ? tail : x - tail;
}

// Waits until everything before this kernel on its stream is done and visible, where the launch did not (programmatic launches).
__device__ __forceinline__ void waitForPrevious() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Lets the next kernel on the stream be launched now, once every block has come here: it waits by itself for all that this one does.
__device__ __forceinline__ void allowNext() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

__device__ __forceinline__ float warpSum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}
