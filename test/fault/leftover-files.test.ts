/** Writers killed at random times: what they leave is taken away by whoever writes there next, and what living ones are at is not. */
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { rm, stat, utimes, writeFile } from 'node:fs/promises';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { assertWritable, readRecord, removeDeadTemporaries } from '../../runtime/image/index.js';
import { packageFile } from '../../runtime/package-root.js';
import { eventually, Workspace } from '../support/sdxl.js';

const writer = packageFile('dist/test/fault/image-writer.js');
const skip: string | false = process.platform === 'linux' ? false : 'only Linux tells when a process began';

async function startWriter(...args: readonly string[]): Promise<ChildProcess> {
  const child = spawn(process.execPath, [writer, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(child.stdout, 'data');
  return child;
}

const isTemporary = (name: string): boolean => name.startsWith('.sdxl-');

test('24 writers killed at random times beside one that lives', { skip }, async (t) => {
  await using workspace = await Workspace.open();
  const living = await startWriter(workspace.file('living.png'));
  try {
    const seen = new Set<string>();
    for (let attempt = 0; attempt < 24; attempt++) {
      const path = workspace.file(`killed-${String(attempt % 4)}.png`);
      const killed = await startWriter(path);
      await delay(40 * Math.random());
      killed.kill('SIGKILL');
      await once(killed, 'exit');
      const left = (await workspace.list()).filter((name) => name.startsWith(`.sdxl-${String(killed.pid)}-`));
      for (const name of left) seen.add(name);
      await assertWritable(path);
      const after = await workspace.list();
      assert.deepEqual(
        after.filter((name) => left.includes(name)),
        [],
      );
      // Whole, or not there.
      if (after.includes(`killed-${String(attempt % 4)}.png`)) assert.notEqual(await readRecord(path), undefined);
    }
    t.diagnostic(`${String(seen.size)} files were left and taken away`);
    assert.ok(seen.size >= 3, `only ${String(seen.size)} files were left: nothing is proven`);
    assert.equal(living.exitCode, null, 'the living one has failed');
  } finally {
    living.kill('SIGKILL');
    await once(living, 'exit');
  }
  await assertWritable(workspace.file('living.png'));
  assert.deepEqual((await workspace.list()).filter(isTemporary), []);
});

test('what a writer elsewhere has left stays for ten minutes', { skip }, async () => {
  await using workspace = await Workspace.open();
  const [pid, elsewhere, random] = [String(process.pid), '0123456789ab', 'abcdef012345'];
  const files = {
    'another machine, now': [`.sdxl-${pid}-1-${elsewhere}-${random}.tmp`, 0],
    'another machine, nine minutes ago': [`.sdxl-${pid}-2-${elsewhere}-${random}.tmp`, 9],
    'another machine, eleven minutes ago': [`.sdxl-${pid}-3-${elsewhere}-${random}.tmp`, 11],
    'an earlier version, eleven minutes ago': [`.sdxl-${pid}-${random}.tmp`, 11],
    "somebody else's": ['.notes.tmp', 11],
  } as const;
  for (const [name, minutes] of Object.values(files)) {
    await writeFile(workspace.file(name), '');
    const at = new Date(Date.now() - minutes * 60_000);
    await utimes(workspace.file(name), at, at);
  }
  await removeDeadTemporaries(workspace.path);
  assert.equal((await workspace.list()).length, 5, 'without the time of the file system');
  await assertWritable(workspace.file('x.png'));
  const stay = [files['another machine, now'], files['another machine, nine minutes ago'], files["somebody else's"]];
  assert.deepEqual(await workspace.list(), stay.map(([name]) => name).sort());
});

test('a process that has the number of a dead writer is not taken for it', { skip }, async () => {
  await using workspace = await Workspace.open();
  const child = await startWriter(workspace.file('x.png'));
  const name = await eventually('file of a writer', async () => (await workspace.list()).find(isTemporary));
  child.kill('SIGKILL');
  await once(child, 'exit');
  const [, , , place = ''] = name.split('-');
  // Number 1 is always there, and began before any writer.
  for (const pid of [1, process.pid]) await writeFile(workspace.file(`.sdxl-${String(pid)}-7-${place}-abcdef012345.tmp`), '');
  await removeDeadTemporaries(workspace.path);
  assert.deepEqual((await workspace.list()).filter(isTemporary), []);
});

test('a writer whose files are taken away writes its image anew', async () => {
  await using workspace = await Workspace.open();
  const path = workspace.file('x.png');
  const child = await startWriter(path);
  try {
    for (let taken = 0; taken < 5;) {
      const name = await eventually('file of a writer', async () => (await workspace.list()).find(isTemporary));
      // It may have got its own name meanwhile.
      taken += await rm(workspace.file(name)).then(
        () => 1,
        () => 0,
      );
      // It gives up an image whose files vanish three times: the next is another.
      const { ino } = await stat(path);
      await eventually('image of a writer', async () => (await stat(path)).ino !== ino || child.exitCode !== null || undefined);
    }
    assert.equal(child.exitCode, null, 'it has failed');
  } finally {
    if (child.exitCode === null) {
      child.kill('SIGKILL');
      await once(child, 'exit');
    }
  }
  assert.notEqual(await readRecord(path), undefined);
});
