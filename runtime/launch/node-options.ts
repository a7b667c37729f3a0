/**
 * How Node is started for a rank. Tensors live outside V8's heap, which stays small, and a small heap beside large buffers makes V8
 * collect all of it again and again: a heap that starts at 256 MiB halves the user time of receiving a gigabyte (bench/collectives.ts).
 * That heap is collected by hand between images (heap-growth.ts).
 */
export const rankNodeOptions: readonly string[] = ['--initial-old-space-size=256', '--expose-gc'];
