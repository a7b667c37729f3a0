/*
 * Stands in for NVIDIA's libraries in tests of faults: device memory is memory of the process, launches compute nothing. What is asked
 * of it is checked as far as the libraries' documentation tells: handles are live, copies stay within an allocation, launches have a
 * geometry. Any call can be made to fail, to hang or to end the process.
 *
 * Environment: SDXL_STAND_IN_FAULT `function:n:what:status:device` for the n-th call of a function by a process that uses this device (-1:
 * any), several separated by commas. What: `fail` with the status, `sticky`: so does every call of the driver after it, `hang`, `kill`, `stall`: from then on the device
 * waits for a peer. SDXL_STAND_IN_MEMORY bytes of a device, SDXL_STAND_IN_DEVICES, SDXL_STAND_IN_NAME, SDXL_STAND_IN_REPORT a file that
 * each process adds a line to as it ends: what it has left. SDXL_STAND_IN_WORKSPACE bytes that cuDNN's first choice asks for.
 */
#include <stddef.h>
#include <stdint.h>

typedef enum { memory, pinned, stream, event, graph, executable, module, program, descriptor, communicator, kinds } Kind;

typedef struct Node {
  int kind;
  int byNccl;
  uint64_t target, width;
  uint32_t value, elementBytes;
  struct Node *before, *after;
} Node;

typedef struct Entry {
  uint64_t key;
  Kind kind;
  size_t bytes;
  /* Of a stream: what captures it. Of an event: what captured it last. Of an executable: its graph has NCCL's kernels. */
  struct Entry *graph;
  Node *first, *last;
  int byNccl;
  uint64_t numbers[4];
  struct Entry *next, *older, *newer;
} Entry;

/* The status of this call: 0 unless it is told to fail. Every function asks first. */
int standInEnter(const char *function);
#define CALL(function)                          \
  do {                                          \
    int status_ = standInEnter(#function);      \
    if (status_ != 0) return status_;           \
  } while (0)

Entry *standInAdd(Kind kind, uint64_t key, size_t bytes);
/* Null where there is none, which is counted as a misuse. */
Entry *standInFind(Kind kind, uint64_t key);
int standInRemove(Kind kind, uint64_t key);
/* Whether all of it lies in one live allocation of the device; counted as a misuse where not. */
int standInInside(uint64_t pointer, uint64_t bytes);
/* Adds a node where the stream captures. Returns whether it does. */
Node *standInRecord(uint64_t streamKey, int kind);
/* Copies from pageable memory that may not have arrived, which no other stream waits for: work that could come before is a misuse. */
extern int standInArriving;
int standInMisuse(int status, const char *what);
long standInLive(Kind kind);
void standInFreeAll(void);
void standInForgetContexts(void);

enum { kernelNode, copyNode, fillNode };
enum { invalidValue = 1, outOfMemory = 2, invalidImage = 200, invalidHandle = 400, notReady = 600 };

extern int standInSticky;
/* The device waits for a peer that never comes. */
extern volatile int standInStalled;
extern int standInDevice;
void standInWaitForDevice(void);
