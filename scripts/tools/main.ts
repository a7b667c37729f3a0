/**
 * Puts the control plane of the cluster suites and the tools of the catalogue into the cache, one after the other: `npm run tools`. What
 * can't be had here is said and fails nothing.
 */
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { buildControlPlane, clusterSkipReason } from '../../test/support/cluster/index.js';
import { findTool, goModule, toolFolder, tools, type Tool, type ToolName } from './catalogue.js';
import { goBuild } from './go-build.js';

const execute = promisify(execFile);
const timeoutMs = 900_000;

// First: the tools share most of their packages with it.
await report('the control plane', async () => {
  const reason = clusterSkipReason();
  if (reason !== false) throw new Error(reason);
  await buildControlPlane();
});
for (const [name, tool] of Object.entries(tools) as [ToolName, Tool][]) {
  if (findTool(name) === undefined) await report(name, () => install(name, tool));
}

async function report(what: string, put: () => Promise<void>): Promise<void> {
  const started = performance.now();
  try {
    await put();
    console.log(`${what}: there after ${((performance.now() - started) / 1000).toFixed(0)} s`);
  } catch (error) {
    console.error(`${what}: not there, what needs it is skipped: ${error instanceof Error ? error.message.trim() : String(error)}`);
  }
}

/** Fills a folder beside the tool's and renames it, so that a tool is there whole or not at all. */
async function install(name: ToolName, tool: Tool): Promise<void> {
  const folder = toolFolder(name);
  await mkdir(dirname(folder), { recursive: true });
  const fresh = await mkdtemp(`${folder}.`);
  try {
    if (tool.from === 'go') {
      const packages = [tool.package === undefined ? tool.module : `${tool.module}/${tool.package}`];
      await goBuild({ module: goModule, packages, output: fresh });
    } else await unpack(tool.package, fresh);
    await rm(folder, { recursive: true, force: true });
    await rename(fresh, folder);
  } finally {
    await rm(fresh, { recursive: true, force: true });
  }
}

async function unpack(name: string, folder: string): Promise<void> {
  const download = (): Promise<unknown> => execute('apt-get', ['download', name], { cwd: folder, timeout: timeoutMs });
  try {
    await download();
  } catch {
    // The list of packages is missing or older than the archive.
    const update = process.getuid?.() === 0 ? ['apt-get', 'update'] : ['sudo', '-n', 'apt-get', 'update'];
    await execute('env', update, { timeout: timeoutMs });
    await download();
  }
  const file = (await readdir(folder)).find((entry) => entry.endsWith('.deb'));
  if (file === undefined) throw new Error(`apt-get download ${name} left no file`);
  await execute('dpkg-deb', ['-x', file, '.'], { cwd: folder });
  await rm(join(folder, file));
}
