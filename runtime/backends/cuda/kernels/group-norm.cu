// Group normalisation of channels-last images, in two passes over memory: statistics, then scale and offset with SiLU.
//
// An image may lie in two parts side by side along the channels (a skip connection is never copied together), and `shift` `[batch,
// channels]`, the time embedding, is added on load. A thread owns eight neighbouring channels of every `lanes`-th pixel.
//
// Sums are taken of x − reference, the reference being the group's first element of the image: E[x²] − E[x]² of values far from zero
// would cancel. All sums are added in a fixed order, so that results are equal bit for bit from run to run.
#include "element.cuh"

// Strides in elements: image, row, column. `channels` of `first` come from `first`, the rest from `second`.
struct Source {
  const T* first;
  const T* second;
  i64 firstBatch, firstRow, firstColumn;
  i64 secondBatch, secondRow, secondColumn;
  int firstChannels;
};

__device__ __forceinline__ const T* address(const Source& source, int batch, int row, int column, int channel) {
  if (channel < source.firstChannels) {
    return source.first + batch * source.firstBatch + row * source.firstRow + column * source.firstColumn + channel;
  }
  return source.second + batch * source.secondBatch + row * source.secondRow + column * source.secondColumn + (channel - source.firstChannels);
}

__device__ __forceinline__ float valueAt(const Source& source, const T* shift, i64 shiftBatch, int batch, int channel) {
  const float value = toFloat(*address(source, batch, 0, 0, channel));
  return shift == nullptr ? value : value + toFloat(shift[batch * shiftBatch + channel]);
}

// {mean less the reference, variance} of a group from its chunks, by one warp; every lane has the result.
__device__ __forceinline__ float2 mergeChunks(const float2* partial, int batch, int chunks, int groups, int group, int lane, float count) {
  float s = 0.0f, q = 0.0f;
  for (int chunk = lane; chunk < chunks; chunk += 32) {
    const float2 part = __ldcg(&partial[(static_cast<i64>(batch) * chunks + chunk) * groups + group]);
    s += part.x;
    q += part.y;
  }
  s = warpSum(s) / count;
  q = warpSum(q) / count;
  return make_float2(s, fmaxf(q - s * s, 0.0f));
}

// Pixels of an image without gaps between rows need no division: `width` is then the number of pixels.
__device__ __forceinline__ const T* pixelAddress(const Source& source, int batch, int pixel, int width, int pixels, int channel) {
  const int row = width == pixels ? 0 : pixel / width;
  return address(source, batch, row, pixel - row * width, channel);
}

// Σ and Σ² of the values less their group's reference, over this block's pixels, added up for each group in a fixed order.
// grid (chunks, batch), block channels/8 · lanes, shared 2 · lanes · channels floats. partial: [batch][chunks][groups].
// The last block of an image adds its chunks up and writes moments [batch][groups] {mean, M2/count}.
extern "C" __global__ void __launch_bounds__(512) groupStatistics(
    const T* first, const T* second, i64 firstBatch, i64 firstRow, i64 firstColumn, i64 secondBatch, i64 secondRow, i64 secondColumn,
    int firstChannels, const T* shift, i64 shiftBatch, int channels, int width, int pixels, int chunkPixels, int lanes, int groups,
    float2* partial, unsigned int* tickets, float2* moments) {
  allowNext();
  waitForPrevious();
  extern __shared__ float shared[];
  const Source source = {first, second, firstBatch, firstRow, firstColumn, secondBatch, secondRow, secondColumn, firstChannels};
  const int octets = channels / 8;
  const int octet = threadIdx.x % octets, lane = threadIdx.x / octets;
  const int batch = blockIdx.y;
  const int perGroup = channels / groups;
  float reference[8], sum[8], square[8];
#pragma unroll
  for (int j = 0; j < 8; j++) {
    const int channel = octet * 8 + j;
    reference[j] = valueAt(source, shift, shiftBatch, batch, channel / perGroup * perGroup);
    if (shift != nullptr) reference[j] -= toFloat(shift[batch * shiftBatch + channel]);
    sum[j] = 0.0f;
    square[j] = 0.0f;
  }
  const int end = min((static_cast<int>(blockIdx.x) + 1) * chunkPixels, pixels);
  int pixel = blockIdx.x * chunkPixels + lane;
  // Four loads under way at a time.
  for (; pixel + 3 * lanes < end; pixel += 4 * lanes) {
    Octet x[4];
#pragma unroll
    for (int k = 0; k < 4; k++) x[k] = loadOctet(pixelAddress(source, batch, pixel + k * lanes, width, pixels, octet * 8));
#pragma unroll
    for (int k = 0; k < 4; k++) {
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const float value = toFloat(x[k].at[j]) - reference[j];
        sum[j] += value;
        square[j] += value * value;
      }
    }
  }
  for (; pixel < end; pixel += lanes) {
    const Octet x = loadOctet(pixelAddress(source, batch, pixel, width, pixels, octet * 8));
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const float value = toFloat(x.at[j]) - reference[j];
      sum[j] += value;
      square[j] += value * value;
    }
  }
  float* sums = shared;
  float* squares = shared + lanes * channels;
#pragma unroll
  for (int j = 0; j < 8; j++) {
    // By place within the octet first, so that neighbouring threads write to neighbouring banks.
    sums[(j * lanes + lane) * octets + octet] = sum[j];
    squares[(j * lanes + lane) * octets + octet] = square[j];
  }
  __syncthreads();

  const int warp = threadIdx.x / 32, warpLane = threadIdx.x % 32;
  // The last warp may be incomplete: it takes no part in reductions.
  const int warps = blockDim.x / 32;
  for (int group = warp; group < groups && warp < warps; group += warps) {
    float s = 0.0f, q = 0.0f;
    for (int index = warpLane; index < perGroup * lanes; index += 32) {
      const int channel = group * perGroup + index % perGroup;
      const int at = (channel % 8 * lanes + index / perGroup) * octets + channel / 8;
      s += sums[at];
      q += squares[at];
    }
    s = warpSum(s);
    q = warpSum(q);
    if (warpLane == 0) partial[(static_cast<i64>(batch) * gridDim.x + blockIdx.x) * groups + group] = make_float2(s, q);
  }
  __shared__ bool isLast;
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) isLast = atomicAdd(&tickets[batch], 1u) == gridDim.x - 1;
  __syncthreads();
  if (!isLast) return;
  __threadfence();
  const float count = static_cast<float>(pixels) * perGroup;
  for (int group = warp; group < groups && warp < warps; group += warps) {
    const float2 moment = mergeChunks(partial, batch, gridDim.x, groups, group, warpLane, count);
    if (warpLane == 0) moments[batch * groups + group] = make_float2(valueAt(source, shift, shiftBatch, batch, group * perGroup) + moment.x, moment.y);
  }
  if (threadIdx.x == 0) tickets[batch] = 0;
}

// y = (x + shift − mean)·γ/σ + β, then SiLU, then the row's mask. grid (chunks, batch), block channels/8 · lanes, shared `groups` float2.
// Mean and variance of each group come from the moments [ranks][batch][groups] of equal bands (of the whole image where ranks is 1),
// merged as Chan, Golub and LeVeque (1979) do for equal counts.
extern "C" __global__ void __launch_bounds__(512) groupApply(
    const T* first, const T* second, i64 firstBatch, i64 firstRow, i64 firstColumn, i64 secondBatch, i64 secondRow, i64 secondColumn,
    int firstChannels, const T* shift, i64 shiftBatch, int channels, int width, int pixels, int chunkPixels, int lanes, int groups,
    const float2* moments, int ranks, float epsilon, const float* weight, const float* bias, int withSilu,
    const T* rowMask, T* y, i64 yBatch, i64 yRow, i64 yColumn) {
  allowNext();
  waitForPrevious();
  extern __shared__ float shared[];
  float2* merged = reinterpret_cast<float2*>(shared);
  const Source source = {first, second, firstBatch, firstRow, firstColumn, secondBatch, secondRow, secondColumn, firstChannels};
  const int octets = channels / 8;
  const int octet = threadIdx.x % octets, lane = threadIdx.x / octets;
  const int batch = blockIdx.y;
  const int perGroup = channels / groups;
  const int end = min((static_cast<int>(blockIdx.x) + 1) * chunkPixels, pixels);
  int pixel = blockIdx.x * chunkPixels + lane;
  // The first pixels are on their way while the moments are merged.
  Octet x[4];
#pragma unroll
  for (int k = 0; k < 4; k++) {
    if (pixel + k * lanes < end) x[k] = loadOctet(pixelAddress(source, batch, pixel + k * lanes, width, pixels, octet * 8));
  }
  for (int group = threadIdx.x; group < groups; group += blockDim.x) {
    float mean = 0.0f, variance = 0.0f;
    for (int rank = 0; rank < ranks; rank++) mean += moments[(rank * gridDim.y + batch) * groups + group].x;
    mean /= ranks;
    for (int rank = 0; rank < ranks; rank++) {
      const float2 part = moments[(rank * gridDim.y + batch) * groups + group];
      variance += part.y + (part.x - mean) * (part.x - mean);
    }
    merged[group] = make_float2(mean, variance / ranks);
  }
  __syncthreads();
  float scale[8], offset[8];
#pragma unroll
  for (int j = 0; j < 8; j++) {
    const int channel = octet * 8 + j;
    const float2 moment = merged[channel / perGroup];
    scale[j] = weight[channel] * rsqrtf(moment.y + epsilon);
    const float added = shift == nullptr ? 0.0f : toFloat(shift[batch * shiftBatch + channel]);
    offset[j] = bias[channel] + (added - moment.x) * scale[j];
  }
  for (; pixel < end; pixel += 4 * lanes) {
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const int at = pixel + k * lanes;
      if (at >= end) break;
      const int row = width == pixels ? 0 : at / width;
      const float mask = rowMask == nullptr ? 1.0f : toFloat(rowMask[row]);
#pragma unroll
      for (int j = 0; j < 8; j++) {
        float normal = toFloat(x[k].at[j]) * scale[j] + offset[j];
        if (withSilu) normal = silu(normal);
        x[k].at[j] = fromFloat(normal * mask);
      }
      storeOctet(y + batch * yBatch + row * yRow + (at - row * width) * yColumn + octet * 8, x[k]);
    }
#pragma unroll
    for (int k = 0; k < 4; k++) {
      const int at = pixel + (4 + k) * lanes;
      if (at < end) x[k] = loadOctet(pixelAddress(source, batch, at, width, pixels, octet * 8));
    }
  }
}

// What a displaced step makes of its own moments and the peers' of the step before (engine/join-moments.ts): y [count] of a float2 each, as is
// `own`; held and next [ranks][count]. Own ones take their place in both: in `held` they are sent from, in `next` the next step finds them.
extern "C" __global__ void joinMoments(const float2* own, float2* held, float2* next, float2* y, int count, int ranks, int position, int corrected) {
  allowNext();
  waitForPrevious();
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= count) return;
  const float2 now = own[at];
  const float2 then = held[position * count + at];
  // Corrected: of the step before, the whole; merged: with this rank's own of now.
  const float2 mine = corrected ? then : now;
  float mean = 0.0f, within = 0.0f, between = 0.0f;
  for (int rank = 0; rank < ranks; rank++) {
    const float2 part = rank == position ? mine : held[rank * count + at];
    mean += part.x / ranks;
    within += part.y / ranks;
  }
  for (int rank = 0; rank < ranks; rank++) {
    const float apart = (rank == position ? mine.x : held[rank * count + at].x) - mean;
    between += apart * apart / ranks;
  }
  float2 result = make_float2(mean, within + between);
  if (corrected) {
    const float moved = now.x - then.x;
    const float variance = result.y + (now.y - then.y) + 2.0f * moved * (then.x - mean);
    result = make_float2(mean + moved, variance < 0.0f ? now.y : variance);
  }
  y[at] = result;
  held[position * count + at] = now;
  next[position * count + at] = now;
}

// First and last `rows` rows: y [2][batch][rows][width][channels]. grid (width, rows · 2, batch), block channels/8.
extern "C" __global__ void boundaryRows(
    const T* first, const T* second, i64 firstBatch, i64 firstRow, i64 firstColumn, i64 secondBatch, i64 secondRow, i64 secondColumn,
    int firstChannels, const T* shift, i64 shiftBatch, int channels, int height, int rows, T* y) {
  const Source source = {first, second, firstBatch, firstRow, firstColumn, secondBatch, secondRow, secondColumn, firstChannels};
  const int column = blockIdx.x, side = blockIdx.y / rows, index = blockIdx.y % rows, batch = blockIdx.z;
  const int row = side == 0 ? index : height - rows + index;
  for (int channel = threadIdx.x * 8; channel < channels; channel += blockDim.x * 8) {
    Octet value = loadOctet(address(source, batch, row, column, channel));
    if (shift != nullptr) {
#pragma unroll
      for (int j = 0; j < 8; j++) value.at[j] = fromFloat(toFloat(value.at[j]) + toFloat(shift[batch * shiftBatch + channel + j]));
    }
    storeOctet(y + (((static_cast<i64>(side) * gridDim.z + batch) * rows + index) * gridDim.x + column) * channels + channel, value);
  }
}
