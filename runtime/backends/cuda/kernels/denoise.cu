// What lies between two calls of the UNet, on the device: scaling its input, guidance, and the sampler's linear step in fp32.
// One graph serves every step of an image, so whatever changes from step to step is read through the step counter.
#include "element.cuh"

// One step of a sampler (runtime/schedulers/linear-step.ts), its coefficients in the order of execution/denoiser.ts.
struct LinearStep {
  float guidanceScale;
  float inputScale;
  float convertedSample, convertedOutput;
  float anchorSample, anchorAnchor, anchor0, anchor1, anchor2, anchor3;
  float nextAnchor, next0, next1, next2, next3, nextNoise;
};
constexpr int stepFloats = sizeof(LinearStep) / sizeof(float);

// Rows of the scaled latents, for every branch: y[branch][channel][r][column] = latents[channel][firstRow + r·rowStep][column]·scale;
// zero beyond the image. Latents f32 [channels][height][width]. grid (width, rows), block paddedChannels.
extern "C" __global__ void scaleInput(const float* latents, const float* steps, const int* counter, int channels, int height, int width,
                                      int branches, int firstRow, int rowStep, T* y, i64 yBatch, i64 yRow, i64 yColumn) {
  const int channel = threadIdx.x, column = blockIdx.x, row = firstRow + static_cast<int>(blockIdx.y) * rowStep;
  const float scale = steps[*counter * stepFloats + 1];
  const bool inside = channel < channels && row >= 0 && row < height;
  const T value = fromFloat(inside ? latents[(static_cast<i64>(channel) * height + row) * width + column] * scale : 0.0f);
  for (int branch = 0; branch < branches; branch++) y[branch * yBatch + blockIdx.y * yRow + column * yColumn + channel] = value;
}

// The counter's row of a table [steps][count].
extern "C" __global__ void selectStep(const T* table, const int* counter, i64 count, T* y) {
  for (i64 index = (static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x) * 8; index < count; index += static_cast<i64>(gridDim.x) * blockDim.x * 8) {
    storeOctet(y + index, loadOctet(table + *counter * count + index));
  }
}

// Guidance (Ho and Salimans 2022) and the step. `noise` is the UNet's output: pixel (row, column) of branch g lies at
// (g·branchRank + row/bandRows)·rankStride + g·branchBatch + row%bandRows·rowStride + column·columnStride + channel.
// x, anchor, m1, m2, m3: f32 [channels][height][width]; random [steps][channels·height·width] or null.
// firstBad: least step at which the noise was not finite. grid-stride.
extern "C" __global__ void linearStep(const T* noise, i64 rankStride, int branchRank, i64 branchBatch, i64 rowStride, i64 columnStride, int bandRows,
                                      int guided, const float* steps, const int* counter, const float* random,
                                      int channels, int height, int width, float* x, float* anchor, float* m1, float* m2, float* m3, int* firstBad) {
  const int step = *counter;
  const LinearStep c = *reinterpret_cast<const LinearStep*>(steps + step * stepFloats);
  const int count = channels * height * width;
  for (int index = blockIdx.x * blockDim.x + threadIdx.x; index < count; index += gridDim.x * blockDim.x) {
    const int column = index % width, row = index / width % height, channel = index / width / height;
    const T* first = noise + row / bandRows * rankStride + row % bandRows * rowStride + column * columnStride + channel;
    float output = toFloat(*first);
    if (guided) {
      const float conditional = toFloat(first[branchRank * rankStride + branchBatch]);
      output = output + c.guidanceScale * (conditional - output);
    }
    if (!isfinite(output)) atomicMin(firstBad, step);
    // Histories are zeroed before the first step, so that coefficients of zero may multiply them.
    const float sample = x[index], previous = anchor[index], before1 = m1[index], before2 = m2[index], before3 = m3[index];
    const float m0 = c.convertedSample * sample + c.convertedOutput * output;
    const float fixed = c.anchorSample * sample + c.anchorAnchor * previous + c.anchor0 * m0 + c.anchor1 * before1 + c.anchor2 * before2 +
                        c.anchor3 * before3;
    float next = c.nextAnchor * fixed + c.next0 * m0 + c.next1 * before1 + c.next2 * before2 + c.next3 * before3;
    if (random != nullptr) next += c.nextNoise * random[static_cast<i64>(step) * count + index];
    x[index] = next;
    anchor[index] = fixed;
    m3[index] = before2;
    m2[index] = before1;
    m1[index] = m0;
  }
}

extern "C" __global__ void advance(int* counter) { *counter += 1; }
