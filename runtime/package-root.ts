/** Where the package is installed: files that ship beside the compiled code (protobuf contracts, the CRD) and its version. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const packageRoot = findRoot(dirname(fileURLToPath(import.meta.url)));

/** Absolute path of a file named relative to the package. */
export function packageFile(relative: string): string {
  return join(packageRoot, relative);
}

export const packageVersion: string = readVersion();

function findRoot(directory: string): string {
  if (existsSync(join(directory, 'package.json'))) return directory;
  const parent = dirname(directory);
  if (parent === directory) throw new Error('package.json not found above the compiled code');
  return findRoot(parent);
}

function readVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8'));
  if (typeof manifest === 'object' && manifest !== null && 'version' in manifest && typeof manifest.version === 'string')
    return manifest.version;
  throw new Error('package.json has no version');
}
