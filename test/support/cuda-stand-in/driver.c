/* The CUDA driver of the stand-in: see stand-in.h. Calls as in cuda.h of CUDA 13. */
#include "stand-in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t used;
static int retained;

/* Whoever held a context is gone. */
void standInForgetContexts(void) {
  standInFreeAll();
  retained = 0;
  used = 0;
}

static uint64_t setting(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text == NULL ? otherwise : strtoull(text, NULL, 10);
}
static uint64_t capacity(void) { return setting("SDXL_STAND_IN_MEMORY", 4ull << 30); }

int cuGetErrorName(int status, const char **text) {
  static char name[32];
  snprintf(name, sizeof name, status == 2 ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_%d", status);
  *text = name;
  return 0;
}
int cuGetErrorString(int status, const char **text) {
  *text = status == 2 ? "out of memory" : "an error of the stand-in";
  return 0;
}

int cuInit(unsigned flags) { CALL(cuInit); return flags == 0 ? 0 : invalidValue; }
int cuDriverGetVersion(int *version) { CALL(cuDriverGetVersion); *version = 13000; return 0; }
int cuDeviceGetCount(int *count) { CALL(cuDeviceGetCount); *count = (int)setting("SDXL_STAND_IN_DEVICES", 2); return 0; }
int cuDeviceGet(int *device, int ordinal) { standInDevice = ordinal; CALL(cuDeviceGet); *device = ordinal; return 0; }
int cuDeviceGetName(char *name, int length, int device) {
  CALL(cuDeviceGetName);
  const char *given = getenv("SDXL_STAND_IN_NAME");
  snprintf(name, (size_t)length, "%s", given == NULL ? "Stand-in GPU" : given);
  return device < 0;
}
int cuDeviceGetUuid_v2(uint8_t *uuid, int device) { CALL(cuDeviceGetUuid_v2); memset(uuid, 16 + device, 16); return 0; }
int cuDeviceTotalMem_v2(size_t *bytes, int device) { CALL(cuDeviceTotalMem_v2); *bytes = capacity(); return device < 0; }
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  CALL(cuDeviceGetAttribute);
  switch (attribute) {
    case 97: *value = 227 << 10; break;
    case 38: *value = 1 << 20; break;
    case 16: *value = 132; break;
    case 75: *value = 9; break;
    case 76: *value = 0; break;
    case 13: *value = 1980000; break;
    default: return invalidValue;
  }
  return device < 0;
}
int cuDevicePrimaryCtxRetain(uint64_t *context, int device) { CALL(cuDevicePrimaryCtxRetain); retained++; *context = 0xc0 + (uint64_t)device; return 0; }
int cuDevicePrimaryCtxRelease_v2(int device) {
  CALL(cuDevicePrimaryCtxRelease_v2);
  if (retained == 0) return standInMisuse(201, "a context");
  if (--retained == 0) standInForgetContexts();
  return device < 0;
}
int cuCtxSetCurrent(uint64_t context) { CALL(cuCtxSetCurrent); return context == 0; }
int cuCtxSynchronize(void) { CALL(cuCtxSynchronize); standInArriving = 0; standInWaitForDevice(); return 0; }

int cuMemGetInfo_v2(size_t *available, size_t *total) {
  CALL(cuMemGetInfo_v2);
  *total = capacity();
  *available = *total - used;
  return 0;
}
static void *allocate(size_t bytes) {
  float *data = NULL;
  if (posix_memalign((void **)&data, 256, bytes) != 0) return NULL;
  /* What no kernel writes looks like numbers, so that an image is neither flat nor without end. */
  uint32_t state = 12345;
  for (size_t index = 0; bytes <= 16 << 20 && index < bytes / 4; index++) {
    state = state * 1664525u + 1013904223u;
    data[index] = (float)(state >> 8) / (1 << 24) - 0.5f;
  }
  return data;
}
int cuMemAlloc_v2(uint64_t *pointer, size_t bytes) {
  CALL(cuMemAlloc_v2);
  if (bytes == 0) return standInMisuse(invalidValue, "an empty allocation");
  if (used + bytes > capacity()) return outOfMemory;
  *pointer = (uint64_t)(uintptr_t)allocate(bytes);
  used += bytes;
  standInAdd(memory, *pointer, bytes);
  return 0;
}
int cuMemFree_v2(uint64_t pointer) {
  CALL(cuMemFree_v2);
  standInWaitForDevice();
  Entry *entry = standInFind(memory, pointer);
  if (entry == NULL) return invalidValue;
  used -= entry->bytes;
  return standInRemove(memory, pointer);
}
int cuMemHostAlloc(uint64_t *address, size_t bytes, unsigned flags) {
  CALL(cuMemHostAlloc);
  *address = (uint64_t)(uintptr_t)allocate(bytes);
  standInAdd(pinned, *address, bytes);
  return (int)flags;
}
int cuMemFreeHost(uint64_t address) { CALL(cuMemFreeHost); standInWaitForDevice(); return standInRemove(pinned, address); }

static int move(uint64_t to, uint64_t from, size_t bytes) {
  memmove((void *)(uintptr_t)to, (void *)(uintptr_t)from, bytes);
  return 0;
}
/* Pageable memory may be on its way to its end when this returns. */
int cuMemcpyHtoD_v2(uint64_t to, uint64_t from, size_t bytes) { CALL(cuMemcpyHtoD_v2); standInArriving = 1; return standInInside(to, bytes) ? move(to, from, bytes) : invalidValue; }
int cuMemcpyDtoH_v2(uint64_t to, uint64_t from, size_t bytes) {
  CALL(cuMemcpyDtoH_v2);
  standInWaitForDevice();
  return standInInside(from, bytes) ? move(to, from, bytes) : invalidValue;
}
int cuMemcpyDtoD_v2(uint64_t to, uint64_t from, size_t bytes) {
  CALL(cuMemcpyDtoD_v2);
  return standInInside(to, bytes) && standInInside(from, bytes) ? move(to, from, bytes) : invalidValue;
}
static int enqueueCopy(uint64_t to, uint64_t from, size_t bytes, uint64_t on) {
  return standInRecord(on, copyNode) != NULL ? 0 : move(to, from, bytes);
}
int cuMemcpyHtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, uint64_t on) {
  CALL(cuMemcpyHtoDAsync_v2);
  return standInInside(to, bytes) ? enqueueCopy(to, from, bytes, on) : invalidValue;
}
int cuMemcpyDtoHAsync_v2(uint64_t to, uint64_t from, size_t bytes, uint64_t on) {
  CALL(cuMemcpyDtoHAsync_v2);
  return standInInside(from, bytes) ? enqueueCopy(to, from, bytes, on) : invalidValue;
}
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t bytes, uint64_t on) {
  CALL(cuMemcpyDtoDAsync_v2);
  return standInInside(to, bytes) && standInInside(from, bytes) ? enqueueCopy(to, from, bytes, on) : invalidValue;
}
static int fill(uint64_t to, uint32_t value, uint64_t count, uint32_t elementBytes, uint64_t on) {
  if (!standInInside(to, count * elementBytes)) return invalidValue;
  Node *node = standInRecord(on, fillNode);
  if (node != NULL) {
    node->target = to;
    node->value = value;
    node->width = count;
    node->elementBytes = elementBytes;
  } else
    for (uint64_t index = 0; index < count; index++) memcpy((char *)(uintptr_t)to + index * elementBytes, &value, elementBytes);
  return 0;
}
int cuMemsetD8Async(uint64_t to, unsigned value, size_t count, uint64_t on) { CALL(cuMemsetD8Async); return fill(to, value, count, 1, on); }
int cuMemsetD16Async(uint64_t to, unsigned value, size_t count, uint64_t on) { CALL(cuMemsetD16Async); return fill(to, value, count, 2, on); }
int cuMemsetD32Async(uint64_t to, unsigned value, size_t count, uint64_t on) { CALL(cuMemsetD32Async); return fill(to, value, count, 4, on); }

int cuIpcGetMemHandle(uint8_t *handle, uint64_t pointer) { CALL(cuIpcGetMemHandle); memcpy(handle, &pointer, 8); return 0; }
typedef struct { uint8_t bytes[64]; } IpcHandle;
int cuIpcOpenMemHandle_v2(uint64_t *pointer, IpcHandle handle, unsigned flags) { CALL(cuIpcOpenMemHandle_v2); memcpy(pointer, handle.bytes, 8); return flags != 1; }
int cuIpcCloseMemHandle(uint64_t pointer) { CALL(cuIpcCloseMemHandle); return pointer == 0; }
