/**
 * Runs the compiled tests: `node dist/test/run.js [folder or file …]`. Every `*.test.ts` under test/ (or under the paths given)
 * runs in a process of its own. Prints the skipped tests by name with their reasons, and ends in `N passed, N failed`.
 */
import { readdirSync } from 'node:fs';
import { availableParallelism, totalmem } from 'node:os';
import { basename, join, relative, resolve } from 'node:path';
import { run } from 'node:test';
import { spec, type TestEvent } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

const compiledRoot = resolve(fileURLToPath(import.meta.url), '../..');
const sourceRoot = resolve(compiledRoot, '..');
/** A file whose process outlives this, for example by a handle left open, is ended and fails. */
const fileTimeoutMs = 900_000;

const wanted = process.argv.slice(2).map((path) => resolve(path));
const files = testFiles(join(sourceRoot, 'test'))
  .filter((path) => wanted.length === 0 || wanted.some((prefix) => path === prefix || path.startsWith(`${prefix}/`)))
  .map((path) => join(compiledRoot, relative(sourceRoot, path)).replace(/\.ts$/u, '.js'));
if (files.length === 0) {
  console.error(`no test files under ${wanted.join(', ')}`);
  process.exit(1);
}

let passed = 0;
const failures: string[] = [];
const skips: string[] = [];
const reporter = new spec();
reporter.pipe(process.stdout);

/** Files that start a cluster run after all others: they wait as much as they compute, and the programs they need are built before them. */
const ofClusters = files.filter((file) => file.startsWith(join(compiledRoot, 'test/cluster/')));
await runFiles(
  files.filter((file) => !ofClusters.includes(file)).map((file) => [file]),
  Math.max(2, Math.floor(availableParallelism() / 2)),
);
// Not beside tests: a compiler takes every core for minutes.
if (ofClusters.length > 0) {
  // Only here: what clusters need is not on every host that runs other suites, such as one with a GPU and a bundle.
  const { buildControlPlane, clusterSkipReason } = await import('./support/cluster/index.js');
  if (clusterSkipReason() === false) await buildControlPlane();
}
/** They take longest and have many of the runtime's own ranks: begun at once, one after the other, beside files that mostly wait. */
const crowded = ofClusters.filter((file) => ['pod-faults.test.js', 'disruptions.test.js'].includes(basename(file)));
await runFiles(
  [crowded, ...ofClusters.filter((file) => !crowded.includes(file)).map((file) => [file])],
  // A cluster with its jobs takes up to 2 GiB, and most of a core while it starts.
  availableParallelism() > 2 && totalmem() > 12 * 2 ** 30 ? 3 : 2,
);
reporter.end();
reporter.once('end', report);

/** Runs groups of files side by side, each in the first lane that is free, and the files of a group one after the other. */
async function runFiles(groups: readonly (readonly string[])[], lanes: number): Promise<void> {
  const queue = groups.values();
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      for (const group of queue) for (const file of group) await runFile(file);
    }),
  );
}

/** Runs one file. Its events reach the reporter together, so that files which run side by side don't mix. */
async function runFile(file: string): Promise<void> {
  const name = relative(compiledRoot, file);
  const timeout = AbortSignal.timeout(fileTimeoutMs);
  const failuresBefore = failures.length;
  const events: TestEvent[] = [];
  for await (const event of run({ files: [file], signal: timeout }) as AsyncIterable<TestEvent>) {
    count(event, name);
    if (!isSummary(event)) events.push(event);
  }
  if (timeout.aborted && failures.length === failuresBefore) failures.push(`${name}: not ended after ${fileTimeoutMs / 1000} s`);
  for (const event of events) reporter.write(event);
}

function count({ type, data }: TestEvent, file: string): void {
  if (type !== 'test:pass' && type !== 'test:fail') return;
  const { skip } = data;
  // The tests of a suite that is skipped as a whole are not told of.
  if (data.details.type === 'suite' && (skip === undefined || skip === false)) return;
  if (type === 'test:fail') failures.push(`${file}: ${data.name}`);
  else if (skip === undefined || skip === false) passed++;
  else skips.push(`${file}: ${data.name}: ${skip === true || skip === '' ? 'no reason given' : skip}`);
}

/** What the runner says of all files, which here would be of one. */
function isSummary({ type, data }: TestEvent): boolean {
  return (type === 'test:diagnostic' && data.nesting === 0 && data.file === undefined) || (type as string) === 'test:summary';
}

function report(): void {
  for (const [what, names] of Object.entries({ skipped: skips, failed: failures })) {
    if (names.length === 0) continue;
    console.log(`\n${names.length} ${what}:`);
    for (const name of names) console.log(`  ${name}`);
  }
  console.log(`\n${passed} passed, ${failures.length} failed`);
  process.exitCode = failures.length > 0 || passed + skips.length === 0 ? 1 : 0;
}

function testFiles(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.test.ts'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}
