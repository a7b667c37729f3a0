// Kernels over rows of tokens: layer normalisation, the gate of the feed-forward, CLIP's causal attention, look-ups.
#include "element.cuh"

// A warp for each row; the row stays in registers, `Octets` of eight columns a lane, so that mean and variance take two exact passes.
// Weights do not depend on what ran before: they are loaded once, ahead of it, for all rows of a warp.
template <int Octets>
__device__ __forceinline__ void layerNorm(const T* x, i64 xStride, T* y, i64 yStride, const float* weight, const float* bias, int rows, int columns,
                                          float epsilon) {
  const int lane = threadIdx.x % 32, octets = columns / 8, warps = blockDim.x / 32;
  float4 gamma[Octets][2], beta[Octets][2];
#pragma unroll
  for (int k = 0; k < Octets; k++) {
    const int octet = lane + k * 32;
    if (octet >= octets) continue;
#pragma unroll
    for (int part = 0; part < 2; part++) {
      gamma[k][part] = __ldg(reinterpret_cast<const float4*>(weight + octet * 8) + part);
      beta[k][part] = __ldg(reinterpret_cast<const float4*>(bias + octet * 8) + part);
    }
  }
  allowNext();
  waitForPrevious();
  for (int row = blockIdx.x * warps + threadIdx.x / 32; row < rows; row += gridDim.x * warps) {
    Octet value[Octets];
    float sum = 0.0f;
#pragma unroll
    for (int k = 0; k < Octets; k++) {
      if (lane + k * 32 < octets) value[k] = loadOctet(x + row * xStride + (lane + k * 32) * 8);
    }
#pragma unroll
    for (int k = 0; k < Octets; k++) {
      if (lane + k * 32 >= octets) continue;
#pragma unroll
      for (int j = 0; j < 8; j++) sum += toFloat(value[k].at[j]);
    }
    const float mean = warpSum(sum) / columns;
    float square = 0.0f;
#pragma unroll
    for (int k = 0; k < Octets; k++) {
      if (lane + k * 32 >= octets) continue;
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const float centred = toFloat(value[k].at[j]) - mean;
        square += centred * centred;
      }
    }
    const float scale = rsqrtf(warpSum(square) / columns + epsilon);
#pragma unroll
    for (int k = 0; k < Octets; k++) {
      const int octet = lane + k * 32;
      if (octet >= octets) continue;
      const float* gs = reinterpret_cast<const float*>(gamma[k]);
      const float* bs = reinterpret_cast<const float*>(beta[k]);
#pragma unroll
      for (int j = 0; j < 8; j++) value[k].at[j] = fromFloat((toFloat(value[k].at[j]) - mean) * scale * gs[j] + bs[j]);
      storeOctet(y + row * yStride + octet * 8, value[k]);
    }
  }
}

// grid: any number of blocks, a wave of them at best; block 128.
#define LAYER_NORM(OCTETS, BLOCKS)                                                                                                   \
  extern "C" __global__ void __launch_bounds__(128, BLOCKS) layerNorm##OCTETS(const T* x, i64 xStride, T* y, i64 yStride, const float* weight, \
                                                                              const float* bias, int rows, int columns, float epsilon) { \
    layerNorm<OCTETS>(x, xStride, y, yStride, weight, bias, rows, columns, epsilon);                                                  \
  }
LAYER_NORM(1, 4)
LAYER_NORM(2, 4)
LAYER_NORM(3, 4)
LAYER_NORM(4, 4)
LAYER_NORM(5, 4)
LAYER_NORM(8, 2)

// y[row, i] = x[row, i] · GELU(x[row, columns + i]); one octet a thread. grid (⌈columns/8/block⌉, rows).
extern "C" __global__ void geglu(const T* x, i64 xStride, T* y, i64 yStride, int columns) {
  allowNext();
  waitForPrevious();
  const int column = (blockIdx.x * blockDim.x + threadIdx.x) * 8;
  if (column >= columns) return;
  const T* row = x + blockIdx.y * xStride + column;
  Octet value = loadOctet(row);
  const Octet gate = loadOctet(row + columns);
#pragma unroll
  for (int j = 0; j < 8; j++) value.at[j] = fromFloat(toFloat(value.at[j]) * gelu(toFloat(gate.at[j])));
  storeOctet(y + blockIdx.y * yStride + column, value);
}

// y[row] = factor · softmax(x[row]) over fp32 scores, which are read twice: the second time they come from the L2 cache.
// grid rows, block 512 (a multiple of 32, at most 1024).
extern "C" __global__ void softmax(const float* x, i64 xStride, T* y, i64 yStride, int columns, float factor) {
  waitForPrevious();
  __shared__ float shared[2][32];
  const float* row = x + blockIdx.x * xStride;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
  float largest = -3.402823466e38f, total = 0.0f;
  for (int column = threadIdx.x * 4; column < columns; column += blockDim.x * 4) {
    const float4 four = *reinterpret_cast<const float4*>(row + column);
    const float most = fmaxf(largest, fmaxf(fmaxf(four.x, four.y), fmaxf(four.z, four.w)));
    total = total * __expf(largest - most) + __expf(four.x - most) + __expf(four.y - most) + __expf(four.z - most) + __expf(four.w - most);
    largest = most;
  }
  // Threads, then warps, put their sums together about the largest of both.
#pragma unroll
  for (int offset = 16; offset > 0; offset >>= 1) {
    const float otherLargest = __shfl_xor_sync(0xffffffffu, largest, offset), other = __shfl_xor_sync(0xffffffffu, total, offset);
    const float most = fmaxf(largest, otherLargest);
    total = total * __expf(largest - most) + other * __expf(otherLargest - most);
    largest = most;
  }
  if (lane == 0) shared[0][warp] = largest, shared[1][warp] = total;
  __syncthreads();
  largest = shared[0][0];
  for (int index = 1; index < warps; index++) largest = fmaxf(largest, shared[0][index]);
  total = 0.0f;
  for (int index = 0; index < warps; index++) total += shared[1][index] * __expf(shared[0][index] - largest);
  const float scale = factor / total;
  for (int column = threadIdx.x * 8; column < columns; column += blockDim.x * 8) {
    const float4 halves[2] = {*reinterpret_cast<const float4*>(row + column), *reinterpret_cast<const float4*>(row + column + 4)};
    const float* scores = reinterpret_cast<const float*>(halves);
    Octet weights;
#pragma unroll
    for (int j = 0; j < 8; j++) weights.at[j] = fromFloat(__expf(scores[j] - largest) * scale);
    storeOctet(y + blockIdx.x * yStride + column, weights);
  }
}

// Causal attention over at most 128 tokens with heads of at most 128 channels: a block for each head and image, K and V in shared
// memory, a warp for each query. grid (heads, batch), shared 2 · tokens · dim elements and a row of scores for each warp.
extern "C" __global__ void causalAttention(const T* q, i64 qBatch, i64 qToken, const T* k, i64 kBatch, i64 kToken, const T* v, i64 vBatch,
                                           i64 vToken, T* y, i64 yBatch, i64 yToken, int tokens, int dim, float scale) {
  extern __shared__ unsigned char raw[];
  T* keys = reinterpret_cast<T*>(raw);
  T* values = keys + tokens * dim;
  float* scores = reinterpret_cast<float*>(values + tokens * dim) + threadIdx.x / 32 * 128;
  const int head = blockIdx.x, batch = blockIdx.y;
  for (int index = threadIdx.x; index < tokens * dim; index += blockDim.x) {
    const int token = index / dim, channel = index % dim + head * dim;
    keys[index] = k[batch * kBatch + token * kToken + channel];
    values[index] = v[batch * vBatch + token * vToken + channel];
  }
  __syncthreads();
  const int lane = threadIdx.x % 32;
  for (int query = threadIdx.x / 32; query < tokens; query += blockDim.x / 32) {
    const T* own = q + batch * qBatch + query * qToken + head * dim;
    float largest = -3.402823466e38f;
    for (int token = lane; token <= query; token += 32) {
      float score = 0.0f;
      for (int channel = 0; channel < dim; channel++) score += toFloat(own[channel]) * toFloat(keys[token * dim + channel]);
      scores[token] = score * scale;
      largest = fmaxf(largest, score * scale);
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset >>= 1) largest = fmaxf(largest, __shfl_xor_sync(0xffffffffu, largest, offset));
    float total = 0.0f;
    for (int token = lane; token <= query; token += 32) {
      scores[token] = __expf(scores[token] - largest);
      total += scores[token];
    }
    total = warpSum(total);
    __syncwarp();
    for (int channel = lane; channel < dim; channel += 32) {
      float sum = 0.0f;
      for (int token = 0; token <= query; token++) sum += scores[token] * toFloat(values[token * dim + channel]);
      y[batch * yBatch + query * yToken + head * dim + channel] = fromFloat(sum / total);
    }
    __syncwarp();
  }
}

// Rows of a table. grid ids, any block. An id out of range reads row 0: the tokenizer has checked ids against the table.
extern "C" __global__ void embedding(const T* table, int rows, int columns, const i64* ids, T* y, i64 yStride) {
  const i64 id = ids[blockIdx.x];
  const T* row = table + (id >= 0 && id < rows ? id : 0) * columns;
  for (int column = threadIdx.x; column < columns; column += blockDim.x) y[blockIdx.x * yStride + column] = row[column];
}

// One token of each sequence. grid batch, any block.
extern "C" __global__ void selectToken(const T* x, i64 xBatch, i64 xToken, int tokens, int columns, const i64* index, T* y, i64 yStride) {
  const i64 wanted = index[blockIdx.x];
  const T* row = x + blockIdx.x * xBatch + (wanted >= 0 && wanted < tokens ? wanted : 0) * xToken;
  for (int column = threadIdx.x; column < columns; column += blockDim.x) y[blockIdx.x * yStride + column] = row[column];
}

// diffusers 0.36 get_timestep_embedding. grid values, any block.
extern "C" __global__ void sinusoid(const float* values, T* y, i64 yStride, int columns, int flipSinToCos, float shift, float maxPeriod) {
  const int half = columns / 2;
  for (int index = threadIdx.x; index < half; index += blockDim.x) {
    const float angle = values[blockIdx.x] * expf(-logf(maxPeriod) * index / (half - shift));
    T* row = y + blockIdx.x * yStride;
    row[index + (flipSinToCos ? half : 0)] = fromFloat(sinf(angle));
    row[index + (flipSinToCos ? 0 : half)] = fromFloat(cosf(angle));
  }
}
