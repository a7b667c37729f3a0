/** Keeps a rank's memory flat over thousands of images. */
import { getHeapStatistics } from 'node:v8';

/** Collecting some 30 MiB that live takes V8 tens of milliseconds, once in forty images or so. */
const growthBytes = 16 * 2 ** 20;

/**
 * A function to call between images. V8 leaves garbage lie until the heap has its initial size (node-options.ts): a long job looks like a
 * leak, and a container's limit does not wait. What has been added since the last collection is collected once it is much.
 */
export function heapTrimmer(): () => void {
  // Only where Node was started with --expose-gc.
  const { gc } = globalThis;
  let before: number | undefined;
  return () => {
    const used = getHeapStatistics().used_heap_size;
    if (before !== undefined && used - before <= growthBytes) return;
    gc?.();
    before = getHeapStatistics().used_heap_size;
  };
}
