/** What the command line reads from and writes to may stay silent, be full or go away. No rank is started here. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { packageFile } from '../../runtime/package-root.js';
import { eventually, Sdxl, Workspace } from '../support/sdxl.js';

const sample = packageFile('manifests/samples/sdxljob.yaml');
let workspace: Workspace;

before(async () => {
  workspace = await Workspace.open();
});
after(async () => {
  await workspace[Symbol.asyncDispose]();
});

for (const [signal, expected] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test(`${signal} ends the wait for a job on stdin, and on a named pipe`, async () => {
    const pipe = workspace.file(`pipe-${signal}`);
    execFileSync('sh', ['-c', 'mkfifo "$0"', pipe]);
    for (const file of ['-', pipe]) {
      const run = new Sdxl(['validate', '-f', sample, file], { cwd: workspace.path, stdin: 'pipe' });
      await eventually('verdict on the first file', () => (run.stdout.includes('is valid') ? true : undefined));
      run.kill(signal);
      const { code, stderr } = await run.end(10_000);
      assert.equal(code, expected);
      assert.match(stderr, new RegExp(`^error CANCELLED: stopped by ${signal}$`, 'mu'));
    }
  });
}

test(
  'a full disk behind stdout is an error, a reader that left is none',
  { skip: !existsSync('/dev/full') && 'no /dev/full' },
  async () => {
    const main = packageFile('dist/runtime/cli/main.js');
    const full = await open('/dev/full', 'w');
    const { status, stderr } = spawnSync(process.execPath, [main, 'validate', '-f', sample], {
      stdio: ['ignore', full.fd, 'pipe'],
      encoding: 'utf8',
    });
    await full.close();
    assert.equal(status, 3);
    assert.match(stderr, /error OUTPUT_UNWRITABLE: stdout can't be written: ENOSPC/u);
    const left = new Sdxl(['validate', '-f', sample], { cwd: workspace.path });
    left.leave('stdout');
    assert.equal((await left.end()).code, 0);
    const unheard = new Sdxl(['validate', '-f', 'absent.yaml'], { cwd: workspace.path });
    unheard.leave('stderr');
    assert.equal((await unheard.end()).code, 2);
  },
);
