/** What the command line reads from and writes to may stay silent, be full or go away. No rank is started here. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { constants, existsSync } from 'node:fs';
import { cp, open, rm } from 'node:fs/promises';
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

test('a file without end is refused, as a job and as a list of prompts', async () => {
  for (const args of [
    ['validate', '-f', '/dev/zero'],
    ['run', '--model', packageFile('models/tiny-sdxl'), '--prompts', '/dev/zero'],
  ]) {
    const { code, stderr } = await new Sdxl(args, { cwd: workspace.path }).end(60_000);
    assert.equal(code, 2, stderr);
    assert.match(stderr, /error USAGE: (?:-f|--prompts) \/dev\/zero: the file can't be read \(it has more than 64\.0 MiB\)/u);
  }
});

test('a file that does not answer holds no process that is told to end, once or twice', async () => {
  const model = workspace.file('silent');
  await cp(packageFile('models/tiny-sdxl'), model, { recursive: true });
  const config = workspace.file('silent/unet/config.json');
  await rm(config);
  execFileSync('mkfifo', [config]);
  for (const [graceSeconds, signals] of [
    ['1', ['SIGTERM']],
    ['600', ['SIGINT', 'SIGTERM']],
  ] as const) {
    const env = { SDXL_GRACE_PERIOD_SECONDS: graceSeconds };
    const run = new Sdxl(['inspect', '--model', model], { cwd: workspace.path, env });
    // Opens only while somebody reads.
    const silence = await eventually('a reader', () => open(config, constants.O_WRONLY | constants.O_NONBLOCK).catch(() => undefined));
    for (const signal of signals) run.kill(signal);
    const { code } = await run.end(15_000);
    await silence.close();
    // Of two signals that are sent at once either may arrive first.
    assert.ok(code === 143 || (signals.length > 1 && code === 130), String(code));
  }
});

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
