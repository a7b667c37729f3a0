/**
 * Runs the compiled tests: `node dist/test/run.js [folder or file …]`. Every `*.test.ts` under test/ (or under the paths given)
 * runs in a process of its own. Prints the skipped tests by name with their reasons, and ends in `N passed, N failed`.
 */
import { readdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

const compiledRoot = resolve(fileURLToPath(import.meta.url), '../..');
const sourceRoot = resolve(compiledRoot, '..');
/** A file that outlives this, for example by a handle left open, fails. */
const fileTimeoutMs = 300_000;

interface Skip {
  readonly name: string;
  readonly reason: string;
}

const wanted = process.argv.slice(2).map((path) => resolve(path));
const files = testFiles(join(sourceRoot, 'test'))
  .filter((path) => wanted.length === 0 || wanted.some((prefix) => path === prefix || path.startsWith(`${prefix}/`)))
  .map((path) => join(compiledRoot, relative(sourceRoot, path)).replace(/\.ts$/u, '.js'));
if (files.length === 0) {
  console.error(`no test files under ${wanted.join(', ')}`);
  process.exit(1);
}

let passed = 0;
let failed = 0;
const skips: Skip[] = [];
const stream = run({ files, concurrency: Math.max(2, Math.floor(availableParallelism() / 2)), timeout: fileTimeoutMs });
stream.on('test:pass', (event) => {
  if (event.details.type === 'suite') return;
  if (event.skip === undefined || event.skip === false) passed++;
  else skips.push({ name: event.name, reason: event.skip === true || event.skip === '' ? 'no reason given' : event.skip });
});
stream.on('test:fail', (event) => {
  if (event.details.type !== 'suite' && (event.todo === undefined || event.todo === false)) failed++;
});
stream.pipe(new spec()).pipe(process.stdout);
stream.once('end', () => setImmediate(report));

function report(): void {
  if (skips.length > 0) {
    console.log(`\n${skips.length} skipped:`);
    for (const { name, reason } of skips) console.log(`  ${name}: ${reason}`);
  }
  console.log(`\n${passed} passed, ${failed} failed`);
  process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
}

function testFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
