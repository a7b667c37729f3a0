/** Which files of a package are needed to run it: everything but sources, types, maps, documents and other platforms' libraries. */

const needless = /\.(?:map|md|markdown|[cm]?ts|tsx|flow|c|cc|cpp|cxx|h|hh|hpp|S|asm|inc|lib|dll|dylib|pdb|yml)$/u;
/** At the package's root only: deeper, `doc` or `test` may be code. */
const needlessFolder = /^(?:test|tests|__tests__|docs?|examples?|benchmarks?|\.github)\//u;
/** Licences travel with the code. */
const kept = /(?:^|\/)(?:LICEN[CS]E|NOTICE|COPYING)[^/]*$/iu;

/** `path` is within the package, with forward slashes. */
export function isNeeded(packageName: string, path: string): boolean {
  if (kept.test(path)) return true;
  if (needless.test(path) || needlessFolder.test(path)) return false;
  if (packageName === 'onnxruntime-node') return !path.startsWith('bin/') || path.includes('/linux/x64/');
  // The same code once more, for those who import it as modules, and its types.
  if (/^@(?:aws-sdk|smithy)\//u.test(packageName)) return !/^dist-(?:es|types)\//u.test(path);
  if (packageName === 'koffi') return !path.startsWith('vendor/') && !path.startsWith('lib/');
  return true;
}
