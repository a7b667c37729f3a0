/* What every library of the stand-in shares: handles, faults, the report. See stand-in.h. */
#include "stand-in.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const kindNames[kinds] = {"memory", "pinned",  "stream",  "event",      "graph",
                                             "executable", "module", "program", "descriptor", "communicator"};

enum { buckets = 4096, mostFunctions = 256, mostFaults = 4 };
static Entry *table[buckets];
/* Allocations of the device, for questions about what lies within one. */
static Entry *allocations;
static long live[kinds];
static int abandoned;
static struct {
  char name[64];
  long calls;
} functions[mostFunctions];
static struct {
  char name[64], what[16];
  long n;
  int status, device;
} faults[mostFaults];
static char misuse[256];
static const char *current = "";
int standInSticky, standInArriving;
volatile int standInStalled;
int standInDevice = -1;

int standInSetFault(const char *text) {
  memset(faults, 0, sizeof faults);
  for (int index = 0; index < mostFaults && text != NULL; index++) {
    sscanf(text, "%63[^:]:%ld:%15[a-z]:%d:%d", faults[index].name, &faults[index].n, faults[index].what, &faults[index].status, &faults[index].device);
    text = strchr(text, ',');
    if (text != NULL) text++;
  }
  return 0;
}

static void report(void) {
  const char *path = getenv("SDXL_STAND_IN_REPORT");
  FILE *file = path == NULL ? NULL : fopen(path, "a");
  if (file == NULL) return;
  fprintf(file, "{\"device\":%d,\"abandoned\":%d,\"misuse\":\"%s\"", standInDevice, abandoned, misuse);
  for (int kind = 0; kind < kinds; kind++) fprintf(file, ",\"%s\":%ld", kindNames[kind], live[kind]);
  fprintf(file, "}\n");
  fclose(file);
}

__attribute__((constructor)) static void begin(void) {
  standInSetFault(getenv("SDXL_STAND_IN_FAULT"));
  atexit(report);
}

/* For a process that makes several runs. */
int standInReset(void) {
  standInForgetContexts();
  for (int index = 0; index < buckets; index++)
    while (table[index] != NULL) standInRemove(table[index]->kind, table[index]->key);
  memset(functions, 0, sizeof functions);
  standInSetFault(NULL);
  standInSticky = standInStalled = standInArriving = abandoned = 0;
  misuse[0] = 0;
  return 0;
}

int standInCalls(const char *name) {
  for (int index = 0; index < mostFunctions && functions[index].name[0] != 0; index++)
    if (strcmp(functions[index].name, name) == 0) return (int)functions[index].calls;
  return 0;
}

int standInLiveByName(const char *name) {
  for (int kind = 0; kind < kinds; kind++)
    if (strcmp(kindNames[kind], name) == 0) return (int)live[kind];
  return -1;
}

/* What nobody gave back before its context ended. */
int standInAbandoned(void) { return abandoned; }

const char *standInMisuses(void) { return misuse; }

static int isDriver(const char *name) { return name[0] == 'c' && name[1] == 'u' && name[2] >= 'A' && name[2] <= 'Z'; }

int standInEnter(const char *name) {
  int index = 0;
  while (functions[index].name[0] != 0 && strcmp(functions[index].name, name) != 0) index++;
  strncpy(functions[index].name, name, sizeof functions[index].name - 1);
  current = functions[index].name;
  long call = ++functions[index].calls;
  if (standInSticky != 0 && isDriver(name)) return standInSticky;
  for (index = 0; index < mostFaults; index++) {
    if (strcmp(faults[index].name, name) != 0 || call != faults[index].n) continue;
    if (faults[index].device >= 0 && faults[index].device != standInDevice) continue;
    const char *what = faults[index].what;
    if (strcmp(what, "hang") == 0)
      for (;;) pause();
    if (strcmp(what, "kill") == 0) raise(SIGKILL);
    if (strcmp(what, "stall") == 0) standInStalled = 1;
    if (strcmp(what, "sticky") == 0) standInSticky = faults[index].status;
    return faults[index].status;
  }
  return 0;
}

static Entry **slot(Kind kind, uint64_t key) {
  Entry **at = &table[(key >> 4) * 2654435761u % buckets];
  while (*at != NULL && ((*at)->key != key || (*at)->kind != kind)) at = &(*at)->next;
  return at;
}

Entry *standInAdd(Kind kind, uint64_t key, size_t bytes) {
  Entry *entry = calloc(1, sizeof *entry), **at;
  entry->key = key == 0 ? (uint64_t)(uintptr_t)entry : key;
  entry->kind = kind;
  entry->bytes = bytes;
  at = slot(kind, entry->key);
  *at = entry;
  live[kind]++;
  if (kind == memory) {
    entry->newer = NULL;
    entry->older = allocations;
    if (allocations != NULL) allocations->newer = entry;
    allocations = entry;
  }
  return entry;
}

Entry *standInFind(Kind kind, uint64_t key) {
  Entry *found = *slot(kind, key);
  if (found == NULL) standInMisuse(0, kindNames[kind]);
  return found;
}

int standInRemove(Kind kind, uint64_t key) {
  Entry **at = slot(kind, key), *entry = *at;
  if (entry == NULL) return standInMisuse(invalidHandle, kindNames[kind]);
  *at = entry->next;
  live[kind]--;
  for (Node *node = entry->first; kind == graph && node != NULL;) {
    Node *after = node->after;
    free(node);
    node = after;
  }
  if (entry == allocations) allocations = entry->older;
  if (entry->older != NULL) entry->older->newer = entry->newer;
  if (entry->newer != NULL) entry->newer->older = entry->older;
  if (kind == memory || kind == pinned) free((void *)(uintptr_t)key);
  free(entry);
  return 0;
}

/* What belongs to a context goes with it. */
void standInFreeAll(void) {
  for (int index = 0; index < buckets; index++)
    for (Entry **at = &table[index]; *at != NULL;) {
      if ((*at)->kind <= module) {
        abandoned++;
        standInRemove((*at)->kind, (*at)->key);
      } else at = &(*at)->next;
    }
}

int standInInside(uint64_t pointer, uint64_t bytes) {
  for (Entry *entry = allocations; entry != NULL; entry = entry->older)
    if (pointer >= entry->key && pointer + bytes <= entry->key + entry->bytes) return 1;
  standInMisuse(0, "an address");
  return 0;
}

Node *standInRecord(uint64_t streamKey, int kind) {
  Entry *on = standInFind(stream, streamKey);
  if (on == NULL) return NULL;
  if (standInArriving) standInMisuse(0, "may run before a copy from pageable memory has arrived");
  if (on->graph == NULL) return NULL;
  Node *node = calloc(1, sizeof *node);
  node->kind = kind;
  node->before = on->graph->last;
  if (node->before != NULL) node->before->after = node;
  else on->graph->first = node;
  on->graph->last = node;
  return node;
}

/* The first of all is kept. */
int standInMisuse(int status, const char *what) {
  if (misuse[0] == 0) snprintf(misuse, sizeof misuse, "%s: %s", current, what);
  return status;
}

long standInLive(Kind kind) { return live[kind]; }

/* As a copy to the host or a release does. */
void standInWaitForDevice(void) {
  while (standInStalled) usleep(1000);
}
