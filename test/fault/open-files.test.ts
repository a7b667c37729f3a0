/** A limit on open files that is too low: told as what it is, wherever it is met. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { packageFile } from '../../runtime/package-root.js';

/** Runs Node under `ulimit -n`. */
function limited(
  files: number,
  ...args: readonly string[]
): { readonly status: number | null; readonly stdout: string; readonly stderr: string } {
  const command = `ulimit -n ${String(files)} && exec "$0" "$@"`;
  return spawnSync('sh', ['-c', command, process.execPath, ...args], { encoding: 'utf8', timeout: 60_000 });
}

for (const files of [40, 64]) {
  test(`${String(files)} files are too few to load the program`, (t) => {
    const { status, stdout, stderr } = limited(files, packageFile('dist/runtime/cli/main.js'), 'inspect', '--mesh', '-n', '2');
    if (status === 0) {
      t.skip('this Node loads modules with fewer');
      return;
    }
    assert.equal(status, 3, stderr);
    assert.equal(stdout, '');
    assert.match(
      stderr.trimEnd().split('\n').at(-1) ?? '',
      /^error OPEN_FILES_EXHAUSTED: .*too many open files.*: raise the limit .*ulimit -n/u,
    );
    assert.doesNotMatch(stderr, / {4}at |report it/u);
  });
}

test('a rank that no more pipes can be made for is a failure that says so', () => {
  const script = `
    import { openSync } from 'node:fs';
    import { RankProcess } from ${JSON.stringify(packageFile('dist/runtime/launch/rank-process.js'))};
    // Loads what is loaded late.
    await new Promise((resolve) => setImmediate(resolve));
    try { for (;;) openSync('/dev/null'); } catch {}
    const failed = (rank, { code, message, exitCode }) => console.log(JSON.stringify({ rank, code, message, exitCode }));
    const rank = new RankProcess({ rank: 3 }, { message: () => undefined, failed });
    rank.start();
    rank.kill('SIGKILL');
    await rank.ended;`;
  const { status, stdout, stderr } = limited(256, '--input-type=module', '--eval', script);
  assert.equal(status, 0, stderr);
  const { rank, code, message, exitCode } = JSON.parse(stdout) as Record<string, unknown>;
  assert.deepEqual([rank, code, exitCode], [3, 'OPEN_FILES_EXHAUSTED', 3]);
  assert.match(String(message), /^its process can't be started: .*EMFILE: raise the limit/u);
});
