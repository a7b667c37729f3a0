/* NVRTC, cuBLASLt, cuDNN and NCCL of the stand-in: see stand-in.h. */
#include "stand-in.h"

#include <stdlib.h>
#include <string.h>

static int create(Kind kind, uint64_t *handle) {
  *handle = standInAdd(kind, 0, 0)->key;
  return 0;
}
static uint64_t hash(const char *text, uint64_t from) {
  for (; *text != 0; text++) from = (from ^ (uint8_t)*text) * 1099511628211ull;
  return from;
}

/* NVRTC: a cubin is the digest of its program. */
const char *nvrtcGetErrorString(int status) { return status == 7 ? "NVRTC_ERROR_BUILTIN_OPERATION_FAILURE" : "NVRTC_ERROR"; }
int nvrtcVersion(int *major, int *minor) { CALL(nvrtcVersion); *major = 13; *minor = 0; return 0; }
int nvrtcGetNumSupportedArchs(int *count) { CALL(nvrtcGetNumSupportedArchs); *count = 2; return 0; }
int nvrtcGetSupportedArchs(int *architectures) { CALL(nvrtcGetSupportedArchs); architectures[0] = 80; architectures[1] = 90; return 0; }
int nvrtcCreateProgram(uint64_t *handle, const char *source, const char *name, int count, const char **texts, const char **names) {
  CALL(nvrtcCreateProgram);
  create(program, handle);
  standInFind(program, *handle)->numbers[0] = hash(source, hash(name, 14695981039346656037ull));
  return count < 0 || (count > 0 && (texts == NULL || names == NULL));
}
int nvrtcCompileProgram(uint64_t which, int count, const char **options) { CALL(nvrtcCompileProgram); return standInFind(program, which) == NULL || count < 1 || options == NULL ? 4 : 0; }
int nvrtcDestroyProgram(uint64_t *which) { CALL(nvrtcDestroyProgram); return standInRemove(program, *which); }
int nvrtcGetCUBINSize(uint64_t which, size_t *bytes) { CALL(nvrtcGetCUBINSize); *bytes = 16; return which == 0; }
int nvrtcGetCUBIN(uint64_t which, uint8_t *image) {
  CALL(nvrtcGetCUBIN);
  memcpy(image, "\x7f" "ELF\0\0\0\0", 8);
  memcpy(image + 8, &standInFind(program, which)->numbers[0], 8);
  return 0;
}
int nvrtcGetProgramLogSize(uint64_t which, size_t *bytes) { CALL(nvrtcGetProgramLogSize); *bytes = 28; return which == 0; }
int nvrtcGetProgramLog(uint64_t which, char *log) { CALL(nvrtcGetProgramLog); memcpy(log, "error: the stand-in refuses", 28); return which == 0; }

/* cuBLASLt. A layout's numbers: bytes of an element, rows, columns, leading dimension. */
size_t cublasLtGetVersion(void) { return 130100; }
int cublasLtCreate(uint64_t *handle) { CALL(cublasLtCreate); return create(descriptor, handle); }
int cublasLtDestroy(uint64_t which) { CALL(cublasLtDestroy); return standInRemove(descriptor, which); }
int cublasLtMatrixLayoutCreate(uint64_t *handle, int type, uint64_t rows, uint64_t columns, int64_t ld) {
  CALL(cublasLtMatrixLayoutCreate);
  if (rows < 1 || columns < 1 || ld < (int64_t)rows) return standInMisuse(7, "a matrix");
  create(descriptor, handle);
  const uint64_t numbers[4] = {type == 0 ? 4 : 2, rows, columns, (uint64_t)ld};
  memcpy(standInFind(descriptor, *handle)->numbers, numbers, sizeof numbers);
  return 0;
}
static int attribute(uint64_t which, int name, const void *value, size_t bytes) { return standInFind(descriptor, which) == NULL || name < 0 || value == NULL || bytes == 0 ? 7 : 0; }
int cublasLtMatrixLayoutSetAttribute(uint64_t which, int name, const void *value, size_t bytes) { CALL(cublasLtMatrixLayoutSetAttribute); return attribute(which, name, value, bytes); }
int cublasLtMatrixLayoutDestroy(uint64_t which) { CALL(cublasLtMatrixLayoutDestroy); return standInRemove(descriptor, which); }
int cublasLtMatmulDescCreate(uint64_t *handle, int compute, int scale) { CALL(cublasLtMatmulDescCreate); return compute != 68 || scale != 0 ? 7 : create(descriptor, handle); }
int cublasLtMatmulDescSetAttribute(uint64_t which, int name, const void *value, size_t bytes) { CALL(cublasLtMatmulDescSetAttribute); return attribute(which, name, value, bytes); }
int cublasLtMatmulDescDestroy(uint64_t which) { CALL(cublasLtMatmulDescDestroy); return standInRemove(descriptor, which); }
int cublasLtMatmulPreferenceCreate(uint64_t *handle) { CALL(cublasLtMatmulPreferenceCreate); return create(descriptor, handle); }
int cublasLtMatmulPreferenceSetAttribute(uint64_t which, int name, const void *value, size_t bytes) { CALL(cublasLtMatmulPreferenceSetAttribute); return attribute(which, name, value, bytes); }
int cublasLtMatmulPreferenceDestroy(uint64_t which) { CALL(cublasLtMatmulPreferenceDestroy); return standInRemove(descriptor, which); }
static void result(uint8_t *at, uint8_t algorithm) {
  const uint64_t workspace = 1024;
  memset(at, 0, 96);
  at[0] = algorithm;
  memcpy(at + 64, &workspace, 8);
}
int cublasLtMatmulAlgoGetHeuristic(uint64_t library, uint64_t operation, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t preference, int requested, uint8_t *results, int *returned) {
  CALL(cublasLtMatmulAlgoGetHeuristic);
  const uint64_t all[] = {library, operation, a, b, c, d, preference};
  for (int index = 0; index < 7; index++)
    if (standInFind(descriptor, all[index]) == NULL) return 7;
  *returned = requested < 2 ? requested : 2;
  for (int index = 0; index < *returned; index++) result(results + 96 * index, (uint8_t)(66 + index));
  return 0;
}
int cublasLtMatmulAlgoCheck(uint64_t library, uint64_t operation, uint64_t a, uint64_t b, uint64_t c, uint64_t d, const uint8_t *algorithm, uint8_t *found) {
  CALL(cublasLtMatmulAlgoCheck);
  if (library * operation * a * b * c * d == 0 || algorithm[0] < 66 || algorithm[0] > 67) return 15;
  result(found, algorithm[0]);
  return 0;
}
int cublasLtMatmulAlgoCapGetAttribute(const uint8_t *algorithm, int name, uint32_t *values, size_t bytes, size_t *written) { CALL(cublasLtMatmulAlgoCapGetAttribute); values[0] = name == 6 ? 15 : 0; *written = bytes < 4 ? 0 : 4; return algorithm == NULL; }
int cublasLtMatmulAlgoConfigSetAttribute(uint8_t *algorithm, int name, const uint8_t *value, size_t bytes) { CALL(cublasLtMatmulAlgoConfigSetAttribute); memcpy(algorithm + 4 * name + 4, value, bytes); return 0; }
int cublasLtMatmulAlgoConfigGetAttribute(const uint8_t *algorithm, int name, uint8_t *value, size_t bytes, size_t *written) { CALL(cublasLtMatmulAlgoConfigGetAttribute); memcpy(value, algorithm + (name == 0 ? 0 : 4 * name + 4), name == 0 ? 1 : bytes); return written != NULL; }
static int isMatrix(uint64_t pointer, uint64_t layout) {
  Entry *of = standInFind(descriptor, layout);
  return of != NULL && pointer % 16 == 0 && standInInside(pointer, of->numbers[0] * ((of->numbers[2] - 1) * of->numbers[3] + of->numbers[1]));
}
int cublasLtMatmul(uint64_t library, uint64_t operation, const void *alpha, uint64_t a, uint64_t aLayout, uint64_t b, uint64_t bLayout, const void *beta, uint64_t c, uint64_t cLayout, uint64_t d, uint64_t dLayout, const uint8_t *algorithm, uint64_t workspace, size_t workspaceBytes, uint64_t on) {
  CALL(cublasLtMatmul);
  if (standInSticky != 0) return 13;
  if (standInFind(descriptor, library) == NULL || standInFind(descriptor, operation) == NULL || alpha == NULL || beta == NULL || algorithm == NULL) return 7;
  if (!isMatrix(a, aLayout) || !isMatrix(b, bLayout) || !isMatrix(c, cLayout) || !isMatrix(d, dLayout) || !standInInside(workspace, workspaceBytes)) return 7;
  standInRecord(on, kernelNode);
  return 0;
}

/* cuDNN. Every descriptor is alike; an execution clears its workspace first, as its attention does. */
const char *cudnnGetErrorString(int status) { return status / 1000 == 5 ? "CUDNN_STATUS_EXECUTION_FAILED" : "CUDNN_STATUS"; }
int cudnnGetLastErrorString(char *text, size_t length) { text[0] = 0; return length == 0; }
size_t cudnnGetVersion(void) { return 91900; }
static uint64_t cudnnStream;
int cudnnCreate(uint64_t *handle) { CALL(cudnnCreate); return create(descriptor, handle); }
int cudnnDestroy(uint64_t which) { CALL(cudnnDestroy); return standInRemove(descriptor, which); }
int cudnnSetStream(uint64_t which, uint64_t on) { CALL(cudnnSetStream); cudnnStream = on; return standInFind(descriptor, which) == NULL || standInFind(stream, on) == NULL ? 2000 : 0; }
int cudnnBackendCreateDescriptor(int type, uint64_t *handle) { CALL(cudnnBackendCreateDescriptor); return type < 0 ? 2000 : create(descriptor, handle); }
int cudnnBackendDestroyDescriptor(uint64_t which) { CALL(cudnnBackendDestroyDescriptor); return standInRemove(descriptor, which); }
int cudnnBackendFinalize(uint64_t which) { CALL(cudnnBackendFinalize); return standInFind(descriptor, which) == NULL ? 2000 : 0; }
int cudnnBackendSetAttribute(uint64_t which, int name, int type, int64_t count, const uint64_t *values) {
  CALL(cudnnBackendSetAttribute);
  Entry *of = standInFind(descriptor, which);
  if (of == NULL || count < 1 || values == NULL) return 2000;
  for (int64_t index = 0; type == 15 && index < count; index++)
    if (standInFind(descriptor, values[index]) == NULL) return 2000;
  if (name == 405 && memcmp(values, "{\"plan\"", 7) != 0) return 1003;
  if (name == 1003) of->numbers[0] = values[0];
  if (name == 401) of->numbers[1] = standInFind(descriptor, values[0])->numbers[1];
  if (name == 405) of->numbers[1] = 1;
  for (int64_t index = 0; name == 1001 && index < count; index++)
    if (values[index] == 0) return standInMisuse(2000, "a pointer of a variant pack");
  return 0;
}
int cudnnBackendGetAttribute(uint64_t which, int name, int type, int64_t requested, int64_t *found, void *values) {
  CALL(cudnnBackendGetAttribute);
  Entry *of = standInFind(descriptor, which);
  if (of == NULL || type < 0) return 2000;
  const char *large = getenv("SDXL_STAND_IN_WORKSPACE");
  const int64_t engine = name == 1301 ? (int64_t)of->numbers[1] : 0, workspace = of->numbers[1] == 0 && large != NULL ? atoll(large) : 256;
  const char *json = "{\"plan\":1}";
  *found = name == 202 ? 2 : name == 405 ? (int64_t)strlen(json) : name == 300 || name == 402 || name == 1301 ? 1 : 0;
  /* Configurations are numbered, and with them their engines and plans. */
  for (int64_t index = 0; type == 15 && values != NULL && index < requested; index++) {
    Entry *inner = standInFind(descriptor, ((uint64_t *)values)[index]);
    if (inner != NULL) inner->numbers[1] = name == 202 ? (uint64_t)index : of->numbers[1];
  }
  if (requested == 0 || values == NULL || type == 15) return 0;
  memcpy(values, name == 405 ? (const void *)json : name == 402 ? &workspace : &engine, name == 405 ? strlen(json) : *found > 0 ? 8 : 0);
  return 0;
}
int cuMemsetD8Async(uint64_t to, unsigned value, size_t count, uint64_t on);
int cudnnBackendExecute(uint64_t library, uint64_t plan, uint64_t pack) {
  CALL(cudnnBackendExecute);
  if (standInSticky != 0) return 5000;
  Entry *given = standInFind(descriptor, pack);
  if (standInFind(descriptor, library) == NULL || standInFind(descriptor, plan) == NULL || given == NULL) return 2000;
  const char *large = getenv("SDXL_STAND_IN_WORKSPACE");
  if (large != NULL && standInFind(descriptor, plan)->numbers[1] == 0 && !standInInside(given->numbers[0], strtoull(large, NULL, 10))) return 5000;
  if (cuMemsetD8Async(given->numbers[0], 0, 256, cudnnStream) != 0) return 5000;
  standInRecord(cudnnStream, kernelNode);
  return 0;
}

/* NCCL. Ranks need not meet; what one waits for never comes where the device is stalled. */
typedef struct { char bytes[128]; } UniqueId;
static int depth;
const char *ncclGetErrorString(int status) { return status == 1 ? "unhandled cuda error" : "an NCCL error"; }
const char *ncclGetLastError(uint64_t which) { return which == 0 ? "" : "of a communicator"; }
int ncclGetVersion(int *version) { CALL(ncclGetVersion); *version = 22809; return 0; }
int ncclGetUniqueId(UniqueId *id) { CALL(ncclGetUniqueId); memset(id, 'i', sizeof *id); return 0; }
int ncclCommInitRank(uint64_t *handle, int size, UniqueId id, int rank) { CALL(ncclCommInitRank); return rank >= size || id.bytes[127] != 'i' ? 4 : create(communicator, handle); }
int ncclCommSplit(uint64_t which, int color, int key, uint64_t *handle, const void *configuration) { CALL(ncclCommSplit); return standInFind(communicator, which) == NULL || color < 0 || key < 0 || configuration == NULL ? 4 : create(communicator, handle); }
/* Both would wait until no graph refers to the communicator any more. A kernel that waits for a peer ends where it is aborted. */
static int end(uint64_t which) {
  if (standInLive(executable) > 0) standInMisuse(0, "graphs may use this communicator still");
  return standInRemove(communicator, which);
}
int ncclCommDestroy(uint64_t which) { CALL(ncclCommDestroy); standInWaitForDevice(); return end(which); }
int ncclCommAbort(uint64_t which) { CALL(ncclCommAbort); standInStalled = 0; return end(which); }
int ncclCommGetAsyncError(uint64_t which, int *error) { CALL(ncclCommGetAsyncError); *error = 0; return standInFind(communicator, which) == NULL ? 4 : 0; }
int ncclGroupStart(void) { CALL(ncclGroupStart); depth++; return 0; }
int ncclGroupEnd(void) { CALL(ncclGroupEnd); return depth-- > 0 ? 0 : standInMisuse(5, "a group that was not begun"); }
static int transfer(uint64_t pointer, size_t count, int type, uint64_t which, uint64_t on) {
  const size_t bytes = type == 1 ? 1 : type == 6 || type == 9 ? 2 : 4;
  if (standInFind(communicator, which) == NULL || count == 0 || !standInInside(pointer, count * bytes)) return 4;
  Node *node = standInRecord(on, kernelNode);
  if (node != NULL) node->byNccl = 1;
  return 0;
}
int ncclAllGather(uint64_t from, uint64_t to, size_t count, int type, uint64_t which, uint64_t on) { CALL(ncclAllGather); return transfer(from, count, type, which, on) + transfer(to, count, type, which, on); }
int ncclAllReduce(uint64_t from, uint64_t to, size_t count, int type, int operation, uint64_t which, uint64_t on) { CALL(ncclAllReduce); return operation < 0 ? 4 : transfer(from, count, type, which, on) + transfer(to, count, type, which, on); }
int ncclSend(uint64_t from, size_t count, int type, int peer, uint64_t which, uint64_t on) { CALL(ncclSend); return peer < 0 ? 4 : transfer(from, count, type, which, on); }
int ncclRecv(uint64_t to, size_t count, int type, int peer, uint64_t which, uint64_t on) { CALL(ncclRecv); return peer < 0 ? 4 : transfer(to, count, type, which, on); }
