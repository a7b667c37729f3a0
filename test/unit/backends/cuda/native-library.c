/* Stands in for a library in test/unit/backends/cuda: every way of passing that the bindings use. Compiled by the test. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct {
  uint8_t bytes[128];
} Id;

int takeStructure(uint64_t *sum, int count, Id id, int rank) {
  *sum = 0;
  for (int i = 0; i < 128; i++) *sum += (uint64_t)id.bytes[i] * (uint64_t)(i + 1);
  return count * 100 + rank;
}

int writeOutputs(int32_t *number, uint64_t *pointer, size_t *size, float *value) {
  *number = -5;
  *pointer = 0xF000000000001234ull;
  *size = 77;
  *value = 1.5f;
  return 0;
}

/* As cuLaunchKernel reads its parameters: pointer, i32, f32, i64, structure. */
int launch(uint64_t function, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f, unsigned shared, uint64_t stream,
           void **parameters, void **extra) {
  if (extra != NULL || function != 7 || stream != 9 || a + b + c + d + e + f + shared != 28) return 1;
  if (*(uint64_t *)parameters[0] != 0xF000000000001234ull) return 2;
  if (*(int32_t *)parameters[1] != -3) return 3;
  if (*(float *)parameters[2] != 0.5f) return 4;
  if (*(int64_t *)parameters[3] != -(1ll << 40)) return 5;
  if (memcmp(parameters[4], "structure", 9) != 0) return 6;
  return 0;
}

int totalLength(const char *const *texts, int count) {
  size_t total = 0;
  for (int i = 0; i < count; i++) total += strlen(texts[i]);
  return (int)total;
}

static int32_t *kept;
int keep(int32_t *pointer) {
  kept = pointer;
  return 0;
}
int addToKept(int by) { return *kept += by; }

const char *greeting(int which) { return which == 0 ? "h\xc3\xa9llo" : NULL; }
size_t version(void) { return 91900; }
uint64_t greetingAddress(void) { return (uint64_t)(uintptr_t)greeting(0); }
