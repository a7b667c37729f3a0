/**
 * Packs everything a machine without a registry needs to run ranks: Node, this package, its production dependencies.
 *
 *     npm run bundle -- --output DIR [--without onnx] [--without models] [--compression 0…9]
 *
 * Writes `sdxl-operator-VERSION-linux-x64.tar.xz` and its checksum. The operator, which runs in the cluster, is not in it.
 */
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, copyFile, mkdir, mkdtemp, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { availableParallelism, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { packageFile, packageVersion } from '../../runtime/package-root.js';
import { productionPackages } from './dependencies.js';
import { isNeeded } from './prune.js';

const run = promisify(execFile);
const parts = ['onnx', 'models'] as const;
type Part = (typeof parts)[number];

const launcher = `#!/bin/sh
root=$(CDPATH= cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)
exec "$root/bin/node" "$root/dist/runtime/cli/main.js" "$@"
`;

const usage = 'npm run bundle -- --output DIR [--without onnx] [--without models] [--compression 0…9]';
const { values } = parseArgs({
  options: {
    output: { type: 'string' },
    without: { type: 'string', multiple: true, default: [] },
    compression: { type: 'string', default: '9' },
  },
});
const without = new Set(values.without.map(parsePart));
if (values.output === undefined) throw new Error(`usage: ${usage}`);
if (!/^\d$/u.test(values.compression)) throw new Error(`--compression ${values.compression}: it is 0 (fast) to 9 (small)`);
if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('the bundle holds this Node: make it on linux/x64');
await bundle(resolve(values.output), without);

function parsePart(name: string): Part {
  const part = parts.find((each) => each === name);
  if (part === undefined) throw new Error(`--without ${name}: it is one of ${parts.join(', ')}`);
  return part;
}

async function bundle(output: string, left: ReadonlySet<Part>): Promise<void> {
  const name = `sdxl-operator-${packageVersion}-${process.platform}-${process.arch}`;
  const staging = await mkdtemp(join(tmpdir(), 'sdxl-bundle-'));
  try {
    const root = join(staging, name);
    await copyOwnFiles(root, left);
    await copyPackages(root, left);
    await copy(process.execPath, join(root, 'bin/node'));
    await writeFile(join(root, 'bin/sdxl'), launcher);
    await chmod(join(root, 'bin/sdxl'), 0o755);
    const archive = join(output, `${name}.tar.xz`);
    await mkdir(output, { recursive: true });
    await compress(staging, name, archive);
    const sum = await sha256(archive);
    await writeFile(`${archive}.sha256`, `${sum}  ${name}.tar.xz\n`);
    const { size } = await stat(archive);
    console.log(`${archive}  ${(size / 2 ** 20).toFixed(1)} MiB  sha256 ${sum}`);
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** What npm would publish, so that the two never differ. */
async function copyOwnFiles(root: string, left: ReadonlySet<Part>): Promise<void> {
  const { stdout } = await run('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: packageFile('.'), maxBuffer: 1 << 26 });
  const [pack] = JSON.parse(stdout) as readonly { readonly files: readonly { readonly path: string }[] }[];
  const outside = ['dist/operator/', 'charts/', ...(left.has('models') ? ['models/'] : [])];
  for (const { path } of pack?.files ?? []) {
    if (outside.some((folder) => path.startsWith(folder))) continue;
    await copy(packageFile(path), join(root, path));
  }
}

async function copyPackages(root: string, left: ReadonlySet<Part>): Promise<void> {
  // The operator's client of the Kubernetes API stays where the operator does.
  const excluded = new Set(['@kubernetes/client-node', ...(left.has('onnx') ? ['onnxruntime-node', 'onnxruntime-common'] : [])]);
  for (const folder of await productionPackages(packageFile('.'), { os: process.platform, cpu: process.arch }, excluded)) {
    const packageName = folder.slice(folder.lastIndexOf('node_modules/') + 'node_modules/'.length);
    // Types only.
    if (packageName.startsWith('@types/')) continue;
    for (const path of await files(packageFile(folder))) {
      if (isNeeded(packageName, path)) await copy(packageFile(`${folder}/${path}`), join(root, folder, path));
    }
  }
}

/** Files of one package, without those of packages inside it. */
async function files(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .filter((path) => !path.startsWith('node_modules/'))
    .sort();
}

async function copy(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await copyFile(from, to);
}

/** Equal content gives an equal archive: names sorted, no times, no owners. */
async function compress(folder: string, name: string, archive: string): Promise<void> {
  const flags = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner'];
  const environment = { ...process.env, XZ_OPT: `-${values.compression} --threads=${availableParallelism()}` };
  await run('tar', [...flags, '-C', folder, '-cJf', archive, name], { env: environment });
}

async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}
