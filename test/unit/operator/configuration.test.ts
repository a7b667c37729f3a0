/** What the operator's process says of files and addresses it cannot use: one line, no stack, and the code for a mistake of the caller's. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { packageFile } from '../../../runtime/package-root.js';

const usable = `
apiVersion: v1
kind: Config
current-context: here
contexts: [{ name: here, context: { cluster: here, user: me } }]
clusters: [{ name: here, cluster: { server: 'https://127.0.0.1:1' } }]
users: [{ name: me, user: { token: t } }]
`;
let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'sdxl-operator-'));
  await writeFile(join(directory, 'usable'), usable);
  await writeFile(join(directory, 'empty'), '');
  await writeFile(join(directory, 'broken'), 'a: [');
  await writeFile(join(directory, 'short'), 'key');
  await writeFile(join(directory, 'lacks-authority'), usable.replace('server:', 'certificate-authority: absent.crt, server:'));
});
after(() => rm(directory, { recursive: true }));

function says(args: readonly string[], env: Readonly<Record<string, string>> = {}): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [packageFile('dist/operator/main.js'), ...args], {
    cwd: directory,
    encoding: 'utf8',
    env: { HOME: directory, ...env },
    timeout: 60_000,
  });
  assert.equal(status, 2, stderr);
  assert.equal(stdout, '');
  assert.match(stderr, /^[^\n]+\n$/u, 'one line');
  return stderr;
}

test('a kubeconfig that cannot be used', () => {
  assert.match(says([]), /^the kubeconfig \/.*\/\.kube\/config can't be used: ENOENT.*: set KUBECONFIG or --kubeconfig/u);
  assert.match(says(['--kubeconfig', '.']), /kubeconfig \. can't be used: EISDIR/u);
  assert.match(says([], { KUBECONFIG: 'empty' }), /kubeconfig empty can't be used: it has no current-context with a cluster's server/u);
  assert.match(says(['--kubeconfig', 'broken']), /kubeconfig broken can't be used: .* at line 1, column 5: set KUBECONFIG/u);
  assert.match(says(['--kubeconfig', 'lacks-authority']), /can't be used: ENOENT.*absent\.crt/u);
});

test('a service account that is not mounted', () => {
  assert.match(says([], { KUBERNETES_SERVICE_HOST: '127.0.0.1' }), /^the pod's service account can't be used: ENOENT.*: give the pod one/u);
});

test('a key that cannot be read or is too short', () => {
  const key = (file: string): string => says(['--kubeconfig', 'usable', '--token-key-file', file]);
  assert.match(key('absent'), /^--token-key-file absent can't be read: ENOENT/u);
  assert.match(key('short'), /^--token-key-file short has 3 bytes: it must have at least 32$/mu);
});

test('an address in use', async () => {
  await using server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const address = `127.0.0.1:${String(port)}`;
  assert.match(
    says(['--kubeconfig', 'usable', '--health-bind-address', address]),
    new RegExp(`^--health-bind-address: cannot listen on ${address}: .*EADDRINUSE.*: give an address that is free$`, 'mu'),
  );
});
