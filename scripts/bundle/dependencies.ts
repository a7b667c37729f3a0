/** Which installed packages the production code needs: the lock file's graph, walked from the manifest's dependencies. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

interface LockedPackage {
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly optionalDependencies?: Readonly<Record<string, string>>;
  readonly peerDependencies?: Readonly<Record<string, string>>;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
}
type LockedPackages = Readonly<Record<string, LockedPackage>>;

export interface Platform {
  readonly os: string;
  readonly cpu: string;
}

/** Folders of packages, `node_modules/…`, sorted. `without` names direct dependencies that are left out with what only they need. */
export async function productionPackages(root: string, platform: Platform, without: ReadonlySet<string>): Promise<readonly string[]> {
  const lock = JSON.parse(await readFile(join(root, 'package-lock.json'), 'utf8')) as { readonly packages: LockedPackages };
  const { packages } = lock;
  const found = new Set<string>();
  const queue = Object.keys(packages['']?.dependencies ?? {})
    .filter((name) => !without.has(name))
    .map((name) => ({ name, from: '', optional: false }));
  for (const { name, from, optional } of queue) {
    const folder = resolveFrom(packages, from, name);
    if (folder === undefined) {
      if (optional) continue;
      throw new Error(`${name}, needed by ${from === '' ? 'the package' : from}, is not in package-lock.json`);
    }
    const locked = packages[folder] ?? {};
    if (found.has(folder) || without.has(name) || !runsOn(locked, platform)) continue;
    found.add(folder);
    for (const needed of Object.keys(locked.dependencies ?? {})) queue.push({ name: needed, from: folder, optional: false });
    for (const wanted of Object.keys({ ...locked.optionalDependencies, ...locked.peerDependencies }))
      queue.push({ name: wanted, from: folder, optional: true });
  }
  return [...found].sort();
}

/** As Node resolves: the nearest enclosing node_modules that has it. */
function resolveFrom(packages: LockedPackages, from: string, name: string): string | undefined {
  for (let folder = from; ; folder = folder.slice(0, Math.max(0, folder.lastIndexOf('/node_modules/')))) {
    const candidate = folder === '' ? `node_modules/${name}` : `${folder}/node_modules/${name}`;
    if (packages[candidate] !== undefined) return candidate;
    if (folder === '') return undefined;
  }
}

function runsOn({ os, cpu }: LockedPackage, platform: Platform): boolean {
  return (os?.includes(platform.os) ?? true) && (cpu?.includes(platform.cpu) ?? true);
}
