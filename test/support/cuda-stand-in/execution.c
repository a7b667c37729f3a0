/* Streams, events, graphs and kernels of the stand-in's driver: see stand-in.h. A graph is one chain, in the order of its capture. */
#include "stand-in.h"

#include <stdlib.h>
#include <string.h>

static int create(Kind kind, uint64_t *handle) {
  *handle = standInAdd(kind, 0, 0)->key;
  return 0;
}

int cuStreamCreateWithPriority(uint64_t *handle, unsigned flags, int priority) { CALL(cuStreamCreateWithPriority); return priority > 0 || flags != 1 ? invalidValue : create(stream, handle); }
int cuStreamDestroy_v2(uint64_t on) { CALL(cuStreamDestroy_v2); return standInRemove(stream, on); }
int cuStreamSynchronize(uint64_t on) {
  CALL(cuStreamSynchronize);
  if (on == 0) standInArriving = 0;
  standInWaitForDevice();
  return on == 0 || standInFind(stream, on) != NULL ? 0 : invalidHandle;
}
/* Takes a stream into the capture that the event was recorded in. */
int cuStreamWaitEvent(uint64_t on, uint64_t after, unsigned flags) {
  CALL(cuStreamWaitEvent);
  Entry *waits = standInFind(stream, on), *what = standInFind(event, after);
  if (waits == NULL || what == NULL || flags != 0) return invalidHandle;
  if (what->graph != NULL) waits->graph = what->graph;
  return 0;
}
static Entry *captured[8];
int cuStreamBeginCapture_v2(uint64_t on, int mode) {
  CALL(cuStreamBeginCapture_v2);
  Entry *begins = standInFind(stream, on);
  if (begins == NULL || begins->graph != NULL) return standInMisuse(901, "a second capture");
  begins->graph = standInAdd(graph, 0, 0);
  captured[0] = begins;
  return mode < 0;
}
int cuStreamEndCapture(uint64_t on, uint64_t *handle) {
  int status = standInEnter("cuStreamEndCapture");
  Entry *ends = standInFind(stream, on);
  if (ends == NULL || ends->graph == NULL) return status != 0 ? status : standInMisuse(903, "a capture that was not begun");
  *handle = ends->graph->key;
  ends->graph = NULL;
  /* A capture that fails is ended, and has no graph. */
  if (status != 0) standInRemove(graph, *handle);
  return status;
}

int cuEventCreate(uint64_t *handle, unsigned flags) { CALL(cuEventCreate); return flags > 3 ? invalidValue : create(event, handle); }
int cuEventDestroy_v2(uint64_t which) { CALL(cuEventDestroy_v2); return standInRemove(event, which); }
int cuEventRecord(uint64_t which, uint64_t on) {
  CALL(cuEventRecord);
  Entry *records = standInFind(event, which), *where = standInFind(stream, on);
  if (records == NULL || where == NULL) return invalidHandle;
  records->graph = where->graph;
  /* A stream that was taken into a capture leaves it where it is joined again. */
  if (where != captured[0]) where->graph = NULL;
  return 0;
}
int cuEventQuery(uint64_t which) { CALL(cuEventQuery); return standInFind(event, which) == NULL ? invalidHandle : standInStalled ? notReady : 0; }
int cuEventSynchronize(uint64_t which) { CALL(cuEventSynchronize); standInWaitForDevice(); return standInFind(event, which) == NULL ? invalidHandle : 0; }
int cuEventElapsedTime(float *ms, uint64_t from, uint64_t to) {
  CALL(cuEventElapsedTime);
  *ms = 1;
  return standInFind(event, from) != NULL && standInFind(event, to) != NULL ? 0 : invalidHandle;
}

int cuGraphInstantiateWithFlags(uint64_t *handle, uint64_t from, uint64_t flags) {
  CALL(cuGraphInstantiateWithFlags);
  Entry *source = standInFind(graph, from);
  if (source == NULL || flags != 0) return invalidHandle;
  create(executable, handle);
  Entry *made = standInFind(executable, *handle);
  for (Node *node = source->first; node != NULL; node = node->after) made->byNccl |= node->byNccl;
  return 0;
}
int cuGraphLaunch(uint64_t which, uint64_t on) {
  CALL(cuGraphLaunch);
  if (standInArriving) standInMisuse(0, "may run before a copy from pageable memory has arrived");
  return standInFind(executable, which) != NULL && standInFind(stream, on) != NULL ? 0 : invalidHandle;
}
int cuGraphUpload(uint64_t which, uint64_t on) { CALL(cuGraphUpload); return standInFind(executable, which) != NULL && on != 0 ? 0 : invalidHandle; }
int cuGraphExecDestroy(uint64_t which) { CALL(cuGraphExecDestroy); return standInRemove(executable, which); }
int cuGraphDestroy(uint64_t which) { CALL(cuGraphDestroy); return standInRemove(graph, which); }
int cuGraphGetNodes(uint64_t which, uint64_t *nodes, size_t *count) {
  CALL(cuGraphGetNodes);
  Entry *of = standInFind(graph, which);
  if (of == NULL) return invalidHandle;
  size_t found = 0;
  for (Node *node = of->first; node != NULL; node = node->after, found++)
    if (nodes != NULL && found < *count) nodes[found] = (uint64_t)(uintptr_t)node;
  *count = found;
  return 0;
}
int cuGraphNodeGetType(Node *node, int *type) { CALL(cuGraphNodeGetType); *type = node->kind; return 0; }
int cuGraphMemsetNodeGetParams(Node *node, uint8_t *parameters) {
  CALL(cuGraphMemsetNodeGetParams);
  uint64_t height = 1;
  memcpy(parameters, &node->target, 8);
  memcpy(parameters + 16, &node->value, 4);
  memcpy(parameters + 20, &node->elementBytes, 4);
  memcpy(parameters + 24, &node->width, 8);
  memcpy(parameters + 32, &height, 8);
  return 0;
}
static int neighbour(Node *other, uint64_t *nodes, size_t *count) {
  if (nodes != NULL && other != NULL) nodes[0] = (uint64_t)(uintptr_t)other;
  *count = other != NULL;
  return 0;
}
int cuGraphNodeGetDependencies_v2(Node *node, uint64_t *nodes, void *edges, size_t *count) { CALL(cuGraphNodeGetDependencies_v2); return (nodes == NULL) != (edges == NULL) ? invalidValue : neighbour(node->before, nodes, count); }
int cuGraphNodeGetDependentNodes_v2(Node *node, uint64_t *nodes, void *edges, size_t *count) { CALL(cuGraphNodeGetDependentNodes_v2); return (nodes == NULL) != (edges == NULL) ? invalidValue : neighbour(node->after, nodes, count); }
/* Only ever to close the gap that a node leaves, which its end does here. */
int cuGraphAddDependencies_v2(uint64_t which, uint64_t *from, uint64_t *to, void *edges, size_t count) { CALL(cuGraphAddDependencies_v2); return standInFind(graph, which) != NULL && from != NULL && to != NULL && edges != NULL && count == 1 ? 0 : invalidValue; }
int cuGraphDestroyNode(Node *node) {
  CALL(cuGraphDestroyNode);
  if (node->before == NULL || node->after == NULL) return standInMisuse(invalidValue, "a node at a graph's end");
  node->before->after = node->after;
  node->after->before = node->before;
  free(node);
  return 0;
}

int cuModuleLoadData(uint64_t *handle, const uint8_t *image) { CALL(cuModuleLoadData); return memcmp(image, "\x7f" "ELF", 4) == 0 ? create(module, handle) : invalidImage; }
int cuModuleUnload(uint64_t which) { CALL(cuModuleUnload); return standInRemove(module, which); }
/* A kernel is told by its module and the sum of its name. */
int cuModuleGetFunction(uint64_t *function, uint64_t of, const char *name) { CALL(cuModuleGetFunction); *function = of; return standInFind(module, of) == NULL || name[0] == 0 ? invalidHandle : 0; }
int cuModuleGetGlobal_v2(uint64_t *pointer, size_t *bytes, uint64_t of, const char *name) { CALL(cuModuleGetGlobal_v2); *pointer = *bytes = 0; return of == 0 || name[0] != 0 ? 500 : 0; }
int cuFuncSetAttribute(uint64_t function, int attribute, int value) {
  CALL(cuFuncSetAttribute);
  if (standInFind(module, function) == NULL) return invalidHandle;
  return attribute == 8 && value <= 227 << 10 ? 0 : invalidValue;
}
int cuFuncGetAttribute(int *value, int attribute, uint64_t function) { CALL(cuFuncGetAttribute); *value = attribute; return standInFind(module, function) == NULL ? invalidHandle : 0; }
int cuOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, uint64_t function, int threads, size_t bytes) { CALL(cuOccupancyMaxActiveBlocksPerMultiprocessor); *blocks = 1; return threads > 1024 || bytes > 227 << 10 || function == 0; }

static int launch(uint64_t function, const uint32_t size[7], uint64_t on, void **parameters) {
  if (standInFind(module, function) == NULL || standInFind(stream, on) == NULL || parameters == NULL) return invalidHandle;
  uint64_t threads = (uint64_t)size[3] * size[4] * size[5];
  int isGrid = size[0] >= 1 && size[0] <= 0x7fffffff && size[1] >= 1 && size[1] <= 65535 && size[2] >= 1 && size[2] <= 65535;
  if (!isGrid || threads < 1 || threads > 1024 || size[5] > 64 || size[6] > 227 << 10) return standInMisuse(invalidValue, "a launch's geometry");
  standInRecord(on, kernelNode);
  return 0;
}
int cuLaunchKernel(uint64_t function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, uint64_t on, void **parameters, void **extra) {
  CALL(cuLaunchKernel);
  const uint32_t size[7] = {gx, gy, gz, bx, by, bz, shared};
  return extra != NULL ? invalidValue : launch(function, size, on, parameters);
}
int cuLaunchKernelEx(const uint8_t *configuration, uint64_t function, void **parameters, void **extra) {
  CALL(cuLaunchKernelEx);
  uint32_t size[7];
  uint64_t on;
  memcpy(size, configuration, sizeof size);
  memcpy(&on, configuration + 32, 8);
  return extra != NULL ? invalidValue : launch(function, size, on, parameters);
}
int cuLaunchCooperativeKernel(uint64_t function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, uint64_t on, void **parameters) {
  CALL(cuLaunchCooperativeKernel);
  const uint32_t size[7] = {gx, gy, gz, bx, by, bz, shared};
  return launch(function, size, on, parameters);
}
/* The limits that cuda.h names, for tensors without interleaving and copies swizzled by 128 bytes. */
int cuTensorMapEncodeTiled(uint8_t *map, int type, uint32_t rank, uint64_t address, const uint64_t *sizes, const uint64_t *strides, const uint32_t *box, const uint32_t *steps, int interleave, int swizzle, int promotion, int filling) {
  CALL(cuTensorMapEncodeTiled);
  int isAligned = (uintptr_t)map % 64 == 0 && address % 16 == 0 && interleave == 0 && swizzle == 3 && (type == 6 || type == 9);
  for (uint32_t axis = 0; axis < rank; axis++) {
    isAligned &= sizes[axis] >= 1 && sizes[axis] <= 1ull << 32 && box[axis] >= 1 && box[axis] <= 256 && steps[axis] == 1;
    if (axis + 1 < rank) isAligned &= strides[axis] % 16 == 0 && strides[axis] > 0 && strides[axis] < 1ull << 40;
  }
  if (!isAligned || box[0] * 2 > 128 || rank < 1 || rank > 5 || promotion > 3 || filling != 0) return standInMisuse(invalidValue, "a tensor map");
  memset(map, 1, 128);
  return 0;
}
