/**
 * The control plane's programs. They are built from `test/control-plane` with the Go at hand into the user's cache, in a folder named
 * after the digest of everything that goes into them. `KUBEBUILDER_ASSETS` takes precedence for the programs it holds, `etcd` and
 * `kube-apiserver`.
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, symlink } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { packageFile } from '../../../runtime/package-root.js';
import { goBuild } from '../../../scripts/tools/go-build.js';

const programs = ['etcd', 'kube-apiserver', 'kube-controller-manager', 'kube-scheduler', 'node-agent', 'kubectl'] as const;
export type Program = (typeof programs)[number];

const source = packageFile('test/control-plane');

/**
 * Why no cluster with these programs can run here, or false. Where `CI` is set that is an error instead: suites that nobody runs protect
 * nothing.
 */
export function clusterSkipReason(wanted: readonly Program[] = programs): string | false {
  const reason = unavailable(wanted);
  if (reason !== false && process.env['CI'] === 'true') throw new Error(`cluster suites must run where CI=true: ${reason}`);
  return reason;
}

function unavailable(wanted: readonly Program[]): string | false {
  if (wanted.includes('node-agent') && process.platform !== 'linux') return `the node agent runs on Linux only, not on ${process.platform}`;
  if (wanted.includes('node-agent') && process.getuid?.() !== 0) return 'the node agent needs root for the namespaces of its pods';
  const built = wanted.filter((program) => asset(program) === undefined);
  if (built.length === 0 || goVersion() !== undefined || builtFolder() !== undefined) return false;
  return `${built.join(', ')} not found: set KUBEBUILDER_ASSETS or install Go 1.25 or later to build them`;
}

/** Path of a program, which is built first where it must be. */
export async function programFile(program: Program): Promise<string> {
  return asset(program) ?? join(await buildControlPlane(), program);
}

/** Builds all programs unless they are built already; the folder they are in. */
export async function buildControlPlane(): Promise<string> {
  const found = builtFolder();
  if (found !== undefined) return found;
  const go = goVersion();
  if (go === undefined) throw new Error('no Go on this machine: install Go 1.25 or later');
  const folder = cacheFolder(go);
  await mkdir(dirname(folder), { recursive: true });
  console.log(`building the control plane of the cluster suites with ${go} into ${folder}`);
  const building = await mkdtemp(`${folder}.building-`);
  try {
    await goBuild({ module: source, packages: ['.', './node-agent'], output: building, linkerFlags: linkerFlags() });
    for (const program of programs) if (program !== 'node-agent') await symlink('control-plane', join(building, program));
    await rename(building, folder).catch((error: unknown) => {
      // Somebody else was first; what they built is the same.
      if (builtFolder() === undefined) throw error;
    });
    return folder;
  } finally {
    await rm(building, { recursive: true, force: true });
  }
}

function asset(program: Program): string | undefined {
  const folder = process.env['KUBEBUILDER_ASSETS'];
  const file = folder === undefined || folder === '' ? undefined : join(folder, program);
  return file !== undefined && existsSync(file) ? file : undefined;
}

/** The folder of what was built; by any Go where there is none now. */
function builtFolder(): string | undefined {
  const go = goVersion();
  if (go !== undefined) return existsSync(cacheFolder(go)) ? cacheFolder(go) : undefined;
  const parent = dirname(cacheFolder(''));
  const name = existsSync(parent)
    ? readdirSync(parent).find((entry) => entry.startsWith(sourceDigest()) && !entry.includes('.building-'))
    : undefined;
  return name === undefined ? undefined : join(parent, name);
}

function cacheFolder(go: string): string {
  const caches = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return join(caches, 'sdxl-operator', 'control-plane', `${sourceDigest()}-${go}`);
}

function sourceDigest(): string {
  const hash = createHash('sha256').update(linkerFlags().join(' '));
  for (const name of readdirSync(source, { recursive: true, encoding: 'utf8' }).sort()) {
    if (/^go\.(mod|sum)$|\.go$/u.test(name)) hash.update(`\0${name}\0`).update(readFileSync(join(source, name)));
  }
  return hash.digest('hex').slice(0, 16);
}

/** Tell the programs their version, which module builds don't know. */
function linkerFlags(): readonly string[] {
  const version = /k8s\.io\/kubernetes (v(\d+)\.(\d+)\.\d+)/u.exec(readFileSync(join(source, 'go.mod'), 'utf8'));
  if (version === null) throw new Error(`${source}/go.mod requires no k8s.io/kubernetes`);
  const [, gitVersion = '', gitMajor = '', gitMinor = ''] = version;
  const variables = Object.entries({ gitVersion, gitMajor, gitMinor, gitTreeState: 'clean' });
  const assignments = variables.map(([name, value]) => `-X k8s.io/component-base/version.${name}=${value}`);
  return [`-X main.kubernetesVersion=${gitVersion}`, ...assignments];
}

function goVersion(): string | undefined {
  try {
    return execFileSync('go', ['env', 'GOVERSION'], { cwd: source, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined; // No Go.
  }
}
