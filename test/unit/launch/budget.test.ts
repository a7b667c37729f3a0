import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { readBudget, threadsPerRank } from '../../../runtime/launch/index.js';
import { resolveBackend } from '../../../runtime/launch/backend.js';
import { Workspace } from '../../support/sdxl.js';

const gibibyte = 2 ** 30;
const meminfo = { 'proc/meminfo': 'MemTotal:       33554432 kB\nMemAvailable:   16777216 kB\n' };
const unlimited = '9223372036854771712\n';

const machines: readonly {
  readonly name: string;
  readonly files: Readonly<Record<string, string>>;
  readonly cpus: number;
  readonly gib: number;
  readonly source: RegExp;
}[] = [
  { name: 'no control groups', files: meminfo, cpus: 8, gib: 16, source: /^MemAvailable/u },
  {
    name: 'v2: page cache and reclaimable slab count as free',
    files: {
      ...meminfo,
      'proc/self/cgroup': '0::/\n',
      'sys/fs/cgroup/cpu.max': '150000 100000\n',
      'sys/fs/cgroup/memory.max': String(8 * gibibyte),
      'sys/fs/cgroup/memory.current': String(6 * gibibyte),
      'sys/fs/cgroup/memory.stat': `anon 1\ninactive_file ${String(gibibyte)}\nactive_file ${String(2 * gibibyte)}\nslab_reclaimable ${String(gibibyte)}\n`,
    },
    cpus: 1.5,
    gib: 6,
    source: /memory\.max$/u,
  },
  {
    name: 'v2: an ancestor is tighter',
    files: {
      ...meminfo,
      'proc/self/cgroup': '0::/pods/one\n',
      'sys/fs/cgroup/pods/cpu.max': '200000 100000\n',
      'sys/fs/cgroup/pods/one/cpu.max': 'max 100000\n',
      'sys/fs/cgroup/pods/memory.max': String(4 * gibibyte),
      'sys/fs/cgroup/pods/memory.current': '0\n',
      'sys/fs/cgroup/pods/one/memory.max': 'max\n',
      'sys/fs/cgroup/pods/one/memory.current': '0\n',
    },
    cpus: 2,
    gib: 4,
    source: /pods\/memory\.max$/u,
  },
  {
    name: 'v1 in a container: the path is the host’s, the limits stand at the mount',
    files: {
      ...meminfo,
      'proc/self/cgroup': '4:memory:/kubepods/abc\n3:cpu,cpuacct:/kubepods/abc\n',
      'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '400000\n',
      'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': String(3 * gibibyte),
      'sys/fs/cgroup/memory/memory.usage_in_bytes': String(2 * gibibyte),
      'sys/fs/cgroup/memory/memory.stat': `total_inactive_file ${String(gibibyte)}\n`,
    },
    cpus: 4,
    gib: 2,
    source: /memory\.limit_in_bytes$/u,
  },
  {
    name: 'v1 without limits',
    files: {
      ...meminfo,
      'proc/self/cgroup': '4:memory:/\n1:cpu:/\n',
      'sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
      'sys/fs/cgroup/cpu/cpu.cfs_period_us': '100000\n',
      'sys/fs/cgroup/memory/memory.limit_in_bytes': unlimited,
      'sys/fs/cgroup/memory/memory.usage_in_bytes': '0\n',
    },
    cpus: 8,
    gib: 16,
    source: /^MemAvailable/u,
  },
];
for (const { name, files, cpus, gib, source } of machines) {
  test(`budget of ${name}`, async () => {
    await using root = await Workspace.open();
    await install(root, files);
    const budget = readBudget(root.path, 8);
    assert.equal(budget.cpus, cpus);
    assert.equal(budget.memoryBytes / gibibyte, gib);
    assert.match(budget.memorySource, source);
  });
}

test('threads are whole, and at least one', () => {
  const threads = (cpus: number, ranks: number): number => threadsPerRank({ cpus, memoryBytes: 0, memorySource: '' }, ranks);
  assert.deepEqual([threads(8, 3), threads(1.5, 1), threads(0.5, 1), threads(2, 4)], [2, 1, 1, 1]);
});

test('Auto never computes on the processor where an NVIDIA device is', async () => {
  await using root = await Workspace.open();
  assert.equal(resolveBackend('Auto', root.path), 'Onnx');
  await install(root, { 'dev/nvidiactl': '' });
  assert.equal(resolveBackend('Auto', root.path), 'Cuda');
  assert.equal(resolveBackend('Onnx', root.path), 'Onnx');
  assert.equal(resolveBackend('Cuda', '/nowhere'), 'Cuda');
});

async function install(root: Workspace, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const path = join(root.path, name);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, content);
  }
}
