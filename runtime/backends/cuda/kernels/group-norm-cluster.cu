// Group normalisation in one pass over memory, for images whose channels fit into shared memory a slice at a time: a cluster of blocks holds
// some whole groups of one image, each block a run of its pixels; their sums meet through distributed shared memory. Compute capability 9 and newer.
//
// Sums are those of group-norm.cu: of x − reference, added in a fixed order. `shift` `[batch, channels]` is added on load.
#include "element.cuh"

// Strides in elements: image, row, column. Channels from `firstChannels` on come from `second`.
struct Source {
  const T* first;
  const T* second;
  i64 firstBatch, firstRow, firstColumn;
  i64 secondBatch, secondRow, secondColumn;
  int firstChannels;
};

__device__ __forceinline__ unsigned int sharedAddress(const void* pointer) { return static_cast<unsigned int>(__cvta_generic_to_shared(pointer)); }

// 16 bytes on their way into shared memory.
__device__ __forceinline__ void copyOctet(Octet* to, const T* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(sharedAddress(to)), "l"(from) : "memory");
}

__device__ __forceinline__ void arriveCluster() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
__device__ __forceinline__ void waitCluster() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }

// The pair at this address of block `rank`'s shared memory.
__device__ __forceinline__ float2 pairOf(const float2* own, int rank) {
  float2 pair;
  asm volatile("{ .reg .b32 there; mapa.shared::cluster.u32 there, %2, %3; ld.shared::cluster.v2.f32 {%0, %1}, [there]; }"
               : "=f"(pair.x), "=f"(pair.y)
               : "r"(sharedAddress(own)), "r"(rank)
               : "memory");
  return pair;
}

// A thread owns eight neighbouring channels of every `lanes`-th pixel of its block's run.
template <int Cluster>
__device__ __forceinline__ void groupNorm(const Source& source, const T* shift, i64 shiftBatch, int width, int pixels, int blockPixels, int lanes, int sliceOctets,
                                          int perGroup, float epsilon, const float* weight, const float* bias, int withSilu, T* y, i64 yBatch, i64 yRow,
                                          i64 yColumn) {
  extern __shared__ __align__(16) unsigned char raw[];
  Octet* const held = reinterpret_cast<Octet*>(raw);
  const int sliceChannels = sliceOctets * 8, groups = sliceChannels / perGroup;
  // Sums by channel and lane, then this block's for each group, then the whole image's.
  float* const sums = reinterpret_cast<float*>(held + blockPixels * sliceOctets);
  float* const squares = sums + lanes * sliceChannels;
  float2* const partial = reinterpret_cast<float2*>(squares + lanes * sliceChannels);
  float2* const moments = partial + groups;
  const int octet = threadIdx.x % sliceOctets, lane = threadIdx.x / sliceOctets;
  const int rank = Cluster == 1 ? 0 : blockIdx.x, batch = blockIdx.z;
  const int channel = blockIdx.y * sliceChannels + octet * 8;
  const int begin = rank * blockPixels, count = max(0, min(blockPixels, pixels - begin));
  // Weights do not depend on what ran before.
  float scale[8], offset[8];
#pragma unroll
  for (int j = 0; j < 8; j++) scale[j] = weight[channel + j], offset[j] = bias[channel + j];
  allowNext();
  waitForPrevious();
  const bool isFirst = channel < source.firstChannels;
  const T* const from = isFirst ? source.first + batch * source.firstBatch + channel : source.second + batch * source.secondBatch + (channel - source.firstChannels);
  const i64 fromRow = isFirst ? source.firstRow : source.secondRow, fromColumn = isFirst ? source.firstColumn : source.secondColumn;
  const auto load = [&](int at) {
    const int pixel = begin + at, row = width == pixels ? 0 : pixel / width;
    copyOctet(held + at * sliceOctets + octet, from + row * fromRow + (pixel - row * width) * fromColumn);
  };
  // All loads are under way at once, in two halves, so that sums of the first are taken meanwhile.
  const int half = (count + 1) / 2;
  int at = lane;
  for (; at < half; at += lanes) load(at);
  asm volatile("cp.async.commit_group;" ::: "memory");
  for (; at < count; at += lanes) load(at);
  asm volatile("cp.async.commit_group;" ::: "memory");

  float reference[8], sum[8], square[8];
#pragma unroll
  for (int j = 0; j < 8; j++) {
    const int first = (channel + j) / perGroup * perGroup;
    const T* const values = first < source.firstChannels ? source.first + batch * source.firstBatch + first
                                                         : source.second + batch * source.secondBatch + (first - source.firstChannels);
    reference[j] = toFloat(*values);
    if (shift != nullptr) reference[j] += toFloat(shift[batch * shiftBatch + first]) - toFloat(shift[batch * shiftBatch + channel + j]);
    sum[j] = 0.0f;
    square[j] = 0.0f;
  }
  const auto add = [&](int place) {
    const Octet x = held[place * sliceOctets + octet];
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const float value = toFloat(x.at[j]) - reference[j];
      sum[j] += value;
      square[j] += value * value;
    }
  };
  // A thread reads what it loaded itself: its own wait is enough.
  at = lane;
  asm volatile("cp.async.wait_group 1;" ::: "memory");
  for (; at < half; at += lanes) add(at);
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  for (; at < count; at += lanes) add(at);
#pragma unroll
  for (int j = 0; j < 8; j++) {
    // By place within the octet first, so that neighbouring threads write to neighbouring banks.
    sums[(j * lanes + lane) * sliceOctets + octet] = sum[j];
    squares[(j * lanes + lane) * sliceOctets + octet] = square[j];
  }
  __syncthreads();
  const int warp = threadIdx.x / 32, warpLane = threadIdx.x % 32, warps = blockDim.x / 32;
  for (int group = warp; group < groups; group += warps) {
    float s = 0.0f, q = 0.0f;
    for (int index = warpLane; index < perGroup * lanes; index += 32) {
      const int own = group * perGroup + index % perGroup;
      const int place = (own % 8 * lanes + index / perGroup) * sliceOctets + own / 8;
      s += sums[place];
      q += squares[place];
    }
    s = warpSum(s);
    q = warpSum(q);
    if (warpLane == 0) partial[group] = make_float2(s, q);
  }
  if (Cluster == 1) {
    __syncthreads();
  } else {
    arriveCluster();
    waitCluster();
  }
  for (int group = threadIdx.x; group < groups; group += blockDim.x) {
    float s = 0.0f, q = 0.0f;
#pragma unroll
    for (int peer = 0; peer < Cluster; peer++) {
      const float2 part = Cluster == 1 ? partial[group] : pairOf(partial + group, peer);
      s += part.x;
      q += part.y;
    }
    const float number = static_cast<float>(pixels) * perGroup;
    s /= number;
    moments[group] = make_float2(s, rsqrtf(fmaxf(q / number - s * s, 0.0f) + epsilon));
  }
  // What peers read is left alone from here on, and none leaves before they have read it.
  if (Cluster > 1) arriveCluster();
  __syncthreads();
#pragma unroll
  for (int j = 0; j < 8; j++) {
    // x + shift − mean is x − reference − (mean less the reference).
    const float2 moment = moments[(octet * 8 + j) / perGroup];
    scale[j] *= moment.y;
    offset[j] -= (reference[j] + moment.x) * scale[j];
  }
  for (at = lane; at < count; at += lanes) {
    Octet x = held[at * sliceOctets + octet];
#pragma unroll
    for (int j = 0; j < 8; j++) {
      const float normal = toFloat(x.at[j]) * scale[j] + offset[j];
      x.at[j] = fromFloat(withSilu ? silu(normal) : normal);
    }
    const int pixel = begin + at, row = width == pixels ? 0 : pixel / width;
    storeOctet(y + batch * yBatch + row * yRow + (pixel - row * width) * yColumn + channel, x);
  }
  if (Cluster > 1) waitCluster();
}

// grid (cluster, channels / slice, batch): a block for each run of pixels. block: octets of a slice · lanes, whole warps. shared: a block's
// pixels, 2 · lanes · slice floats, and two pairs for each group of a slice. A slice is whole octets and whole groups.
#define GROUP_NORM(CLUSTER)                                                                                                                              \
  extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(512) groupNorm##CLUSTER(                                                   \
      const T* first, const T* second, i64 firstBatch, i64 firstRow, i64 firstColumn, i64 secondBatch, i64 secondRow, i64 secondColumn,                  \
      int firstChannels, const T* shift, i64 shiftBatch, int width, int pixels, int blockPixels, int lanes, int sliceOctets, int perGroup,               \
      float epsilon, const float* weight, const float* bias, int withSilu, T* y, i64 yBatch, i64 yRow, i64 yColumn) {                                    \
    const Source source = {first, second, firstBatch, firstRow, firstColumn, secondBatch, secondRow, secondColumn, firstChannels};                       \
    groupNorm<CLUSTER>(source, shift, shiftBatch, width, pixels, blockPixels, lanes, sliceOctets, perGroup, epsilon, weight, bias, withSilu, y, yBatch,  \
                       yRow, yColumn);                                                                                                                   \
  }
GROUP_NORM(1)
GROUP_NORM(2)
GROUP_NORM(4)
GROUP_NORM(8)
