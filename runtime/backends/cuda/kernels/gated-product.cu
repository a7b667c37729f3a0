// y = (x·Wvᵀ + bv) · GELU(x·Wgᵀ + bg): the feed-forward's projection with its gate, without the projection in memory. Hopper only (wgmma).
//
// W is [2 · outputs, depth]: rows of the value, then rows of the gate. A tile is 128 rows of x by 128 outputs, whose 256 rows of W
// stand side by side in one product, so that a thread holds value and gate of the same outputs. Three warpgroups a block: one loads
// (bulk tensor copies into a ring of stages, announced by a `full` and given back by an `empty` barrier), two compute 64 rows each.
// Clusters of two take neighbouring rows and share every load of W. Blocks stay for several tiles, and load the next one meanwhile.
#include "element.cuh"

#if ELEMENT_BF16
#define ELEMENT "bf16"
#else
#define ELEMENT "f16"
#endif

typedef unsigned int u32;
typedef unsigned long long u64;

// CUtensorMap, opaque.
struct alignas(64) TensorMap {
  unsigned char bytes[128];
};

constexpr int tileRows = 128, tileOutputs = 128, tileDepth = 64, stages = 4;
constexpr int weightRows = 2 * tileOutputs, rowBytes = tileDepth * 2;
constexpr int xBytes = tileRows * rowBytes, stageBytes = xBytes + weightRows * rowBytes;
// After the stages: barriers, then two copies of a tile's biases for each computing warpgroup.
constexpr int barrierBytes = 256;

#define D4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define D16(i) D4(i), D4(i + 4), D4(i + 8), D4(i + 12)

// d (+)= a·bᵀ of a warpgroup: a 64 × 16 and b 256 × 16 in shared memory, d 64 × 256 over its threads.
__device__ __forceinline__ void multiply(float (&d)[128], u64 a, u64 b, int add) {
  asm volatile("{ .reg .pred p; setp.ne.b32 p, %130, 0; wgmma.mma_async.sync.aligned.m64n256k16.f32." ELEMENT "." ELEMENT " {"
               "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
               "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
               "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
               "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
               "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
               "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
               "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
               "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, %128, %129, p, 1, 1, 0, 0; }"
               : D16(0), D16(16), D16(32), D16(48), D16(64), D16(80), D16(96), D16(112)
               : "l"(a), "l"(b), "r"(add));
}

__device__ __forceinline__ u32 sharedAddress(const void* pointer) { return static_cast<u32>(__cvta_generic_to_shared(pointer)); }

__device__ __forceinline__ void initBarrier(u32 barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(count));
}

__device__ __forceinline__ void expectBytes(u32 barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

__device__ __forceinline__ void waitFor(u32 barrier, int parity) {
  asm volatile("{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1; @!done bra again; }" ::"r"(barrier), "r"(parity)
               : "memory");
}

// One thread of a warpgroup for each block of the cluster. Of the block alone, without the name of another: a remote arrival that
// names `.release.cluster` waits for everything the thread has in flight, which halves the kernel's speed.
template <int Cluster>
__device__ __forceinline__ void giveBack(u32 barrier) {
  const int thread = threadIdx.x % 128;
  if (thread >= Cluster) return;
  if (Cluster == 1)
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
  else
    asm volatile("{ .reg .b32 there; mapa.shared::cluster.u32 there, %0, %1; mbarrier.arrive.shared::cluster.b64 _, [there]; }" ::"r"(barrier), "r"(thread)
                 : "memory");
}

__device__ __forceinline__ void loadX(u32 to, const TensorMap& map, u32 barrier, int column, int row) {
  asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(to), "l"(&map),
               "r"(barrier), "r"(column), "r"(row)
               : "memory");
}

// 128 rows of W, into every block of the cluster. The map's axes put row 8t + 2g + e of each 32 at place 8g + 2t + e (e < 2; t, g < 4):
// an accumulator gives thread t of four the columns 8g + 2t + e, which thus are eight neighbouring outputs, stored as one octet.
template <int Cluster>
__device__ __forceinline__ void loadWeights(u32 to, const TensorMap& map, u32 barrier, int column, int block) {
  if (Cluster == 1)
    asm volatile("cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %5, %5, %5, %4}], [%2];" ::"r"(to),
                 "l"(&map), "r"(barrier), "r"(column), "r"(block), "r"(0)
                 : "memory");
  else
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%3, %5, %5, %5, %4}], [%2], %6;" ::"r"(to),
        "l"(&map), "r"(barrier), "r"(column), "r"(block), "r"(0), "h"(static_cast<unsigned short>((1 << Cluster) - 1))
        : "memory");
}

// Descriptor of an operand of rows of 128 bytes, swizzled by 128 bytes: eight rows are 1024 bytes apart.
__device__ __forceinline__ u64 operand(u32 address) {
  return static_cast<u64>((address & 0x3ffff) >> 4) | (static_cast<u64>(1) << 16) | (static_cast<u64>(64) << 32) | (static_cast<u64>(1) << 62);
}

template <int Cluster>
__device__ __forceinline__ void synchronizeBlocks() {
  if (Cluster == 1)
    __syncthreads();
  else
    asm volatile("barrier.cluster.arrive.release.aligned; barrier.cluster.wait.acquire.aligned;" ::: "memory");
}

template <int Cluster>
__device__ __forceinline__ void gatedProduct(const TensorMap& xMap, const TensorMap& wMap, const T* bias, T* y, i64 yStride, int rows, int outputs,
                                             int depth) {
  extern __shared__ unsigned char raw[];
  const u32 base = (sharedAddress(raw) + 1023) & ~1023u;
  const u32 full = base + stages * stageBytes, empty = full + stages * 8;
  T* const biases = reinterpret_cast<T*>(raw + (full - sharedAddress(raw)) + barrierBytes);
  // From one lane, so that the compiler knows it to be the whole warp's.
  const int warpgroup = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  const int rank = Cluster == 1 ? 0 : blockIdx.x % Cluster, first = blockIdx.x / Cluster, stride = gridDim.x / Cluster;
  const int steps = (depth + tileDepth - 1) / tileDepth;
  const int rowTiles = (rows + tileRows * Cluster - 1) / (tileRows * Cluster);
  const int tiles = rowTiles * ((outputs + tileOutputs - 1) / tileOutputs);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < stages; stage++) initBarrier(full + stage * 8, 1), initBarrier(empty + stage * 8, 2 * Cluster);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  synchronizeBlocks<Cluster>();
  allowNext();
  if (warpgroup == 0) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == 0) {
      const auto weights = [&](int stage, int tile, int step) {
        const int block = tile / rowTiles * (tileOutputs / 32);
#pragma unroll
        for (int half = 0; half < 2; half++) {
          if (half % Cluster != rank) continue;
          const u32 to = base + stage * stageBytes + xBytes + half * tileOutputs * rowBytes;
          loadWeights<Cluster>(to, wMap, full + stage * 8, step * tileDepth, block + half * (outputs / 32));
        }
      };
      const auto input = [&](int stage, int tile, int step) {
        loadX(base + stage * stageBytes, xMap, full + stage * 8, step * tileDepth, (tile % rowTiles * Cluster + rank) * tileRows);
      };
      // Weights do not depend on what ran before.
      const int early = min(stages, steps);
      for (int step = 0; step < early; step++) {
        expectBytes(full + step * 8, stageBytes);
        weights(step, first, step);
      }
      waitForPrevious();
      for (int step = 0; step < early; step++) input(step, first, step);
      int stage = early % stages, parity = early == stages ? 0 : 1;
      for (int tile = first; tile < tiles; tile += stride) {
        for (int step = tile == first ? early : 0; step < steps; step++) {
          waitFor(empty + stage * 8, parity);
          expectBytes(full + stage * 8, stageBytes);
          input(stage, tile, step);
          weights(stage, tile, step);
          if (++stage == stages) stage = 0, parity ^= 1;
        }
      }
    }
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int own = warpgroup - 1, thread = threadIdx.x % 128, lane = threadIdx.x % 32;
    int stage = 0, parity = 0, copy = 0;
    for (int tile = first; tile < tiles; tile += stride, copy ^= 1) {
      const int tileColumn = tile / rowTiles * tileOutputs;
      T* const tileBias = biases + (own * 2 + copy) * weightRows;
      if (thread < weightRows / 8) {
        const int column = tileColumn + thread * 8 % tileOutputs;
        Octet loaded = {};
        if (bias != nullptr && column < outputs) loaded = loadOctet(bias + column + thread * 8 / tileOutputs * outputs);
        storeOctet(tileBias + thread * 8, loaded);
      }
      float d[weightRows / 2];
      int before = 0;
      for (int step = 0; step < steps; step++) {
        waitFor(full + stage * 8, parity);
        const u64 a = operand(base + stage * stageBytes + own * 64 * rowBytes), b = operand(base + stage * stageBytes + xBytes);
        asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#pragma unroll
        for (int k = 0; k < tileDepth / 16; k++) multiply(d, a + k * 2, b + k * 2, step > 0 || k > 0);
        asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
        if (step > 0) {
          asm volatile("wgmma.wait_group.sync.aligned 1;" ::: "memory");
          giveBack<Cluster>(empty + before * 8);
        }
        before = stage;
        if (++stage == stages) stage = 0, parity ^= 1;
      }
      asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
      giveBack<Cluster>(empty + before * 8);
      // The warpgroup's biases are there.
      asm volatile("bar.sync %0, 128;" ::"r"(own + 1) : "memory");
      const int row = (tile % rowTiles * Cluster + rank) * tileRows + own * 64 + thread / 32 * 16 + lane / 4;
#pragma unroll
      for (int block = 0; block < tileOutputs / 32; block++) {
        const int column = block * 32 + lane % 4 * 8;
        if (tileColumn + column >= outputs) break;
        const Octet valueBias = loadOctet(tileBias + column), gateBias = loadOctet(tileBias + tileOutputs + column);
#pragma unroll
        for (int half = 0; half < 2; half++) {
          Octet result;
#pragma unroll
          for (int j = 0; j < 8; j++) {
            const int at = (block * 4 + j / 2) * 4 + half * 2 + j % 2;
            const float value = d[at] + toFloat(valueBias.at[j]), gate = d[tileOutputs / 2 + at] + toFloat(gateBias.at[j]);
            result.at[j] = fromFloat(value * gelu(gate));
          }
          if (row + half * 8 < rows) storeOctet(y + (row + half * 8) * yStride + tileColumn + column, result);
        }
      }
    }
  }
  // None leaves while others write into its memory.
  synchronizeBlocks<Cluster>();
}

// x: map of [rows, depth], boxes of 128 × 64; w: map of loadWeights' axes, boxes of 128 rows × 64; both swizzled by 128 bytes. bias
// [2 · outputs] or null; outputs a multiple of 32. grid: at most the multiprocessors, a multiple of the cluster; block 384.
#define GATED_PRODUCT(NAME, CLUSTER)                                                                                                                \
  extern "C" __global__ void __cluster_dims__(CLUSTER, 1, 1) __launch_bounds__(384, 1)                                                                    \
      NAME(const __grid_constant__ TensorMap x, const __grid_constant__ TensorMap w, const T* bias, T* y, i64 yStride, int rows, int outputs, int depth) { \
    gatedProduct<CLUSTER>(x, w, bias, y, yStride, rows, outputs, depth);                                                                            \
  }
GATED_PRODUCT(gatedProduct1, 1)
GATED_PRODUCT(gatedProduct2, 2)
