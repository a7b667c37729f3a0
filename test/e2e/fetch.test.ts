/** `sdxl fetch` against a server that speaks as the Hub does. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test } from 'node:test';
import { fixture } from '../support/fixtures.js';
import { sdxl, Workspace } from '../support/sdxl.js';

const model = fixture('random-sdxl');

async function hub(token?: string, cut = 0, more: readonly object[] = []): Promise<{ readonly endpoint: string; readonly server: Server }> {
  const names = (await readdir(model, { recursive: true, withFileTypes: true })).filter((entry) => entry.isFile());
  const paths = names.map((entry) => join(entry.parentPath, entry.name).slice(model.length + 1));
  const listing = await Promise.all(paths.map(async (path) => ({ type: 'file', path, size: (await stat(join(model, path))).size })));
  const all = [
    ...listing,
    { type: 'file', path: 'checkpoint.safetensors', size: 1 },
    { type: 'file', path: 'README.md', size: 1 },
    ...more,
  ];
  const server = createServer((request, response) => {
    const path = request.url?.split('/resolve/main/')[1];
    if (token !== undefined && request.headers.authorization !== `Bearer ${token}`) response.writeHead(401).end();
    else if (request.url === '/api/models/a/b/tree/main?recursive=true') response.end(JSON.stringify(all));
    else if (path !== undefined && paths.includes(path)) {
      readFile(join(model, path)).then(
        (content) => response.end(content.subarray(cut)),
        () => response.writeHead(500).end(),
      );
    } else response.writeHead(404).end();
  });
  await new Promise<void>((listening) => {
    server.listen(0, '127.0.0.1', listening);
  });
  return { endpoint: `http://127.0.0.1:${String((server.address() as AddressInfo).port)}`, server };
}

test('a model is fetched whole, and kept when it is there', async () => {
  await using workspace = await Workspace.open();
  const { endpoint, server } = await hub('secret');
  const args = ['fetch', '--repo', 'a/b', '--endpoint', endpoint, '--output', 'models/a--b'];
  const refused = await sdxl(args, { cwd: workspace.path });
  assert.equal(refused.code, 2, refused.stderr);
  assert.match(refused.stderr, /MODEL_NOT_FOUND: a\/b at main can't be fetched: .* answered 401: give a token/u);
  const options = { cwd: workspace.path, env: { HF_TOKEN: 'secret' } };
  const { code, stdout, stderr } = await sdxl(args, options);
  assert.equal(code, 0, stderr);
  assert.equal(stdout, 'models/a--b\n');
  const path = 'unet/diffusion_pytorch_model.safetensors';
  assert.deepEqual(await readFile(workspace.file('models/a--b', path)), await readFile(join(model, path)));
  assert.ok(!(await workspace.list('models/a--b')).includes('checkpoint.safetensors'));
  server.close();
  server.closeAllConnections();
  assert.equal((await sdxl(args, options)).stdout, 'models/a--b (kept)\n');
});

test('a model that comes damaged, or not at all, is not published, and may be tried again', async () => {
  await using workspace = await Workspace.open();
  const { endpoint, server } = await hub(undefined, 1);
  const args = ['fetch', '--repo', 'a/b', '--endpoint', endpoint, '--retry-for', '1', '--output', 'models/a--b'];
  const damaged = await sdxl(args, { cwd: workspace.path });
  assert.equal(damaged.code, 75, damaged.stderr);
  assert.match(damaged.stderr, /bytes, and \d+ were announced/u);
  // What has come whole is kept for the next attempt.
  const left = await workspace.list('models');
  assert.match(left.join(), /^a--b\.partial-[0-9a-f]{12}$/u);
  server.close();
  server.closeAllConnections();
  const unreachable = await sdxl(args, { cwd: workspace.path });
  assert.equal(unreachable.code, 75, unreachable.stderr);
  assert.match(unreachable.stderr, /ADDRESS_UNAVAILABLE: a\/b at main was not fetched: http:.* can't be reached \(ECONNREFUSED\)/u);
});

test('where a model cannot be put is told with what to do, and what is there already is nobody’s model', async (t) => {
  await using workspace = await Workspace.open();
  const { endpoint, server } = await hub();
  const fetching = (output: string): ReturnType<typeof sdxl> =>
    sdxl(['fetch', '--repo', 'a/b', '--endpoint', endpoint, '--retry-for', '1', '--output', output], { cwd: workspace.path });
  await writeFile(workspace.file('file'), '');
  await mkdir(workspace.file('others'));
  await writeFile(workspace.file('others/notes.txt'), 'mine');
  for (const [output, says] of [
    ['file', /^error OUTPUT_UNWRITABLE: file can't be written \(ENOTDIR\): a part of the path is a file/mu],
    ['file/model', /^error OUTPUT_UNWRITABLE: file\/model can't be written \(ENOTDIR\): a part of the path is a file/mu],
    ['/proc/none/model', /^error OUTPUT_UNWRITABLE: \/proc\/none\/model can't be written \(ENOENT\): a directory of the path is missing/mu],
    ['others', /^error OUTPUT_UNWRITABLE: others is there and holds other things than a model: choose another directory/mu],
  ] as const) {
    const { code, stderr } = await fetching(output);
    assert.equal(code, 3, stderr);
    assert.match(stderr, says);
  }
  assert.deepEqual(await workspace.list('others'), ['notes.txt']);
  await mkdir(workspace.file('empty'));
  assert.equal((await fetching('empty')).stdout, 'empty\n');

  await t.test('a disk that is full is told of, and the next attempt goes on', async (disk) => {
    await mkdir(workspace.file('disk'));
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', workspace.file('disk')], { stdio: 'pipe' });
    } catch {
      disk.skip('no permission to mount a file system');
      return;
    }
    try {
      const full = await fetching('disk/model');
      assert.equal(full.code, 3, full.stderr);
      assert.match(full.stderr, /^error OUTPUT_UNWRITABLE: .*\(ENOSPC\): the disk is full: make room .*; what has arrived is kept/mu);
      execFileSync('mount', ['-o', 'remount,size=64m', workspace.file('disk')]);
      const again = await fetching('disk/model');
      assert.equal(again.code, 0, again.stderr);
      assert.match(again.stderr, /of it are there/u);
    } finally {
      execFileSync('umount', [workspace.file('disk')]);
    }
  });
  server.close();
  server.closeAllConnections();
});

test('a listing leads to no file outside the model, and a file that never ends fills no disk', async () => {
  await using workspace = await Workspace.open();
  const outside = [
    '../outside.json',
    './outside.json',
    'unet/../../outside.json',
    '/outside.json',
    'unet/.hidden.json',
    '..\\outside.json',
  ];
  const { endpoint, server } = await hub(
    undefined,
    0,
    outside.map((path) => ({ type: 'file', path, size: 1 })),
  );
  const args = ['fetch', '--repo', 'a/b', '--endpoint', endpoint, '--retry-for', '1', '--output', 'models/a--b'];
  const { code, stderr } = await sdxl(args, { cwd: workspace.path });
  assert.equal(code, 0, stderr);
  assert.deepEqual(await readdir(workspace.file('models')), ['a--b']);
  server.close();
  server.closeAllConnections();

  let sent = 0;
  const endless = createServer((request, response) => {
    if (request.url?.startsWith('/api/') === true) response.end(JSON.stringify([{ type: 'file', path: 'model_index.json', size: 10 }]));
    else {
      const more = (): void => {
        while (!response.destroyed) {
          sent += 65_536;
          if (!response.write(Buffer.alloc(65_536))) break;
        }
      };
      response.on('drain', more);
      more();
    }
  });
  await new Promise<void>((listening) => {
    endless.listen(0, '127.0.0.1', listening);
  });
  const address = `http://127.0.0.1:${String((endless.address() as AddressInfo).port)}`;
  const long = await sdxl(['fetch', '--repo', 'a/b', '--endpoint', address, '--retry-for', '1', '--output', 'models/c'], {
    cwd: workspace.path,
  });
  endless.close();
  endless.closeAllConnections();
  assert.equal(long.code, 75, long.stderr);
  assert.match(
    long.stderr,
    /ADDRESS_UNAVAILABLE: a\/b at main was not fetched: model_index\.json goes on after the 10 bytes that were announced/u,
  );
  assert.ok(sent < 64 << 20, String(sent));
});
