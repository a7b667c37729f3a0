/**
 * What this process may use: processors and memory, by the limits of its control groups (v2 and v1) and by the machine. A limit holds
 * for the whole path from a group to the root, so the tightest counts. Limits are read, never guessed: what cannot be read limits nothing.
 */
import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';

export interface Budget {
  /** Processors, possibly a fraction. */
  readonly cpus: number;
  /** Bytes that can still be allocated before somebody is killed: page cache counts as free. */
  readonly memoryBytes: number;
  /** What sets `memoryBytes`, for people. */
  readonly memorySource: string;
}

interface Limit {
  readonly bytes: number;
  readonly source: string;
}

/** `root` is where `/proc` and `/sys` are found. */
export function readBudget(root = '/', hostCpus: number = availableParallelism()): Budget {
  const groups = controlGroups(root);
  const cpus = Math.min(hostCpus, ...groups.flatMap((group) => [cpuQuota(group)]));
  const limits = [hostMemory(root), ...groups.map(groupMemory)].filter((limit) => limit !== undefined);
  const tightest = limits.reduce<Limit>((least, limit) => (limit.bytes < least.bytes ? limit : least), {
    bytes: Number.MAX_SAFE_INTEGER,
    source: 'no limit',
  });
  return { cpus, memoryBytes: Math.max(0, tightest.bytes), memorySource: tightest.source };
}

/** Intra-op threads of each of `ranks` ranks that share the budget. */
export function threadsPerRank(budget: Budget, ranks: number): number {
  return Math.max(1, Math.floor(budget.cpus / ranks));
}

interface ControlGroup {
  readonly version: 1 | 2;
  readonly controller: 'cpu' | 'memory' | 'unified';
  readonly directory: string;
}

/** This process's groups and all their ancestors. In a container whose own group is its root, the path of the file may not exist here. */
function controlGroups(root: string): ControlGroup[] {
  const lines = (read(join(root, 'proc/self/cgroup')) ?? '').split('\n').filter((line) => line !== '');
  return lines.flatMap((line) => {
    const [, controllers = '', path = '/'] = /^\d+:([^:]*):(.*)$/u.exec(line) ?? [];
    const mounts = join(root, 'sys/fs/cgroup');
    if (controllers === '')
      return ancestors(path).map((at): ControlGroup => ({ version: 2, controller: 'unified', directory: join(mounts, at) }));
    return (['cpu', 'memory'] as const)
      .filter((controller) => controllers.split(',').includes(controller))
      .flatMap((controller) =>
        ancestors(path).map((at): ControlGroup => ({ version: 1, controller, directory: join(mounts, controller, at) })),
      );
  });
}

function ancestors(path: string): string[] {
  const parts = path.split('/').filter((part) => part !== '' && part !== '..');
  return Array.from({ length: parts.length + 1 }, (_, depth) => parts.slice(0, depth).join('/'));
}

function cpuQuota({ version, controller, directory }: ControlGroup): number {
  if (version === 2) {
    const [quota, period] = (read(join(directory, 'cpu.max')) ?? '').trim().split(' ').map(Number);
    return ratio(quota, period);
  }
  if (controller !== 'cpu') return Number.POSITIVE_INFINITY;
  return ratio(readNumber(join(directory, 'cpu.cfs_quota_us')), readNumber(join(directory, 'cpu.cfs_period_us')));
}

function ratio(quota: number | undefined, period: number | undefined): number {
  const valid = quota !== undefined && period !== undefined && quota > 0 && period > 0;
  return valid ? quota / period : Number.POSITIVE_INFINITY;
}

function groupMemory({ version, controller, directory }: ControlGroup): Limit | undefined {
  if (version === 1 && controller !== 'memory') return undefined;
  const names =
    version === 2
      ? { max: 'memory.max', current: 'memory.current', reclaimable: ['inactive_file', 'active_file', 'slab_reclaimable'] }
      : { max: 'memory.limit_in_bytes', current: 'memory.usage_in_bytes', reclaimable: ['total_inactive_file', 'total_active_file'] };
  const max = readNumber(join(directory, names.max));
  const current = readNumber(join(directory, names.current));
  // Without a limit v2 says "max" and v1 a number near 2⁶³.
  if (max === undefined || current === undefined || max > 2 ** 60) return undefined;
  const stat = readTable(join(directory, 'memory.stat'), /^(\w+) (\d+)$/u, 1);
  const reclaimable = names.reclaimable.reduce((sum, name) => sum + (stat.get(name) ?? 0), 0);
  return { bytes: max - Math.max(0, current - reclaimable), source: join(directory, names.max) };
}

function hostMemory(root: string): Limit | undefined {
  const available = readTable(join(root, 'proc/meminfo'), /^(\w+):\s+(\d+) kB$/u, 1024).get('MemAvailable');
  return available === undefined ? undefined : { bytes: available, source: 'MemAvailable of the machine' };
}

function readTable(path: string, row: RegExp, unit: number): ReadonlyMap<string, number> {
  const rows = (read(path) ?? '').split('\n').map((line) => row.exec(line));
  return new Map(rows.flatMap((match) => (match?.[1] === undefined ? [] : [[match[1], Number(match[2]) * unit] as const])));
}

function readNumber(path: string): number | undefined {
  const text = read(path)?.trim();
  return text !== undefined && /^-?\d+$/u.test(text) ? Number(text) : undefined;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined; // Not this kernel's layout, or not ours to read.
  }
}
