/** Ranks that prove themselves by certificates of the job's authority, on real connections. */
import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect as connectPlain } from 'node:net';
import { after, before, describe, it } from 'node:test';
import { connect as connectTls } from 'node:tls';
import { GrpcCommunicator, rankTlsName, type TlsIdentity } from '../../../runtime/collectives/index.js';
import { localIdentity, readIdentity } from '../../../runtime/launch/certificates.js';
import { Workspace } from '../../support/sdxl.js';
import { freePort, openGang, rankOptions } from './gang.js';

let identity: TlsIdentity;
let foreign: TlsIdentity;
before(async () => {
  [identity, foreign] = await Promise.all([localIdentity(), localIdentity()]);
});

describe('a gang with certificates', () => {
  it('exchanges, and ends in order', async () => {
    const gang = await openGang(3, (options) => ({ ...options, tls: identity }));
    const received = await Promise.all(
      gang.map(async (communicator) => {
        const { rank } = communicator;
        const [next, previous] = [(rank + 1) % 3, (rank + 2) % 3];
        const incoming = new Uint8Array(3 << 20);
        await communicator.exchange({
          operation: 'ring',
          tag: 1,
          sends: [{ peer: next, parts: [new Uint8Array(3 << 20).fill(rank + 1)] }],
          receives: [{ peer: previous, parts: [incoming] }],
        });
        assert.ok(incoming.every((value) => value === previous + 1));
        return incoming.length;
      }),
    );
    assert.deepEqual(received, [3 << 20, 3 << 20, 3 << 20]);
    await Promise.all(gang.map((communicator) => communicator.close()));
  });

  for (const [who, tls] of [
    ['of another authority', () => foreign],
    ['without one', () => undefined],
  ] as const) {
    it(`refuses a rank with a certificate ${who}, which says so; the others are not disturbed`, async () => {
      const port = await freePort();
      const timeouts = { rendezvousMs: 20_000, exchangeMs: 20_000, closeMs: 3_000, abortMs: 500 };
      const zero = GrpcCommunicator.open({ ...rankOptions(0, 2, port), timeouts, tls: identity });
      const own = tls();
      const false1 = GrpcCommunicator.open({
        ...rankOptions(1, 2, port),
        timeouts: { ...timeouts, rendezvousMs: 8_000 },
        ...(own === undefined ? {} : { tls: own }),
      });
      await assert.rejects(
        false1,
        own === undefined ? { code: 'RENDEZVOUS_TIMEOUT' } : { code: 'UNAUTHENTICATED', message: /certificates of one authority/u },
      );
      const one = GrpcCommunicator.open({ ...rankOptions(1, 2, port), timeouts, tls: identity });
      const gang = await Promise.all([zero, one]);
      await Promise.all(gang.map((communicator) => communicator.barrier()));
      await Promise.all(gang.map((communicator) => communicator.close()));
    });
  }

  it('is not joined by rank 0 without one, and a line says so', async () => {
    const port = await freePort();
    const timeouts = { rendezvousMs: 20_000, exchangeMs: 20_000, closeMs: 3_000, abortMs: 500 };
    const plain = assert.rejects(GrpcCommunicator.open({ ...rankOptions(0, 2, port), timeouts: { ...timeouts, rendezvousMs: 8_000 } }), {
      code: 'RENDEZVOUS_TIMEOUT',
    });
    await assert.rejects(GrpcCommunicator.open({ ...rankOptions(1, 2, port), timeouts, tls: identity }), {
      code: 'UNAUTHENTICATED',
      message: /^[^\n]+: give every rank of the job certificates of one authority, or none$/u,
    });
    await plain;
  });

  it('takes no connection without a certificate, and its own is the job’s', async () => {
    const gang = await openGang(2, (options) => ({ ...options, tls: identity, coordinator: { ...options.coordinator } }));
    const port = await freePort();
    const lonely = GrpcCommunicator.open({ ...rankOptions(0, 2, port), tls: identity, timeouts: { rendezvousMs: 3_000, abortMs: 200 } });
    const ended = (socket: ReturnType<typeof connectPlain>): Promise<string> =>
      new Promise((resolve) => {
        let what = 'closed';
        socket
          .on('error', (error) => (what = error.message))
          .on('close', () => resolve(what))
          .resume();
      });
    const bare = connectTls({ port, host: '127.0.0.1', ca: identity.ca, servername: rankTlsName, ALPNProtocols: ['h2'] });
    assert.match(await ended(bare), /certificate required/u);
    const plain = connectPlain({ port, host: '127.0.0.1' });
    plain.write('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
    assert.match(await ended(plain), /closed|reset/iu);
    await assert.rejects(lonely, { code: 'RENDEZVOUS_TIMEOUT' });
    await Promise.all(gang.map((communicator) => communicator.close()));
  });
});

describe('a folder of certificates', () => {
  let workspace: Workspace;
  before(async () => {
    workspace = await Workspace.open();
  });
  after(async () => {
    await workspace[Symbol.asyncDispose]();
  });

  async function folder(name: string, change: Partial<Record<'ca.crt' | 'tls.crt' | 'tls.key', string>>): Promise<string> {
    const path = workspace.file(name);
    await mkdir(path);
    const files = { 'ca.crt': identity.ca, 'tls.crt': identity.certificate, 'tls.key': identity.key, ...change };
    for (const [file, content] of Object.entries(files)) if (content !== '') await writeFile(`${path}/${file}`, content);
    return path;
  }

  it('gives a rank its identity', async () => {
    assert.deepEqual(await readIdentity(await folder('whole', {})), identity);
  });

  const rows: readonly (readonly [name: string, change: () => Parameters<typeof folder>[1], says: RegExp])[] = [
    [
      'without a key',
      () => ({ 'tls.key': '' }),
      /tls\.key can't be read \(ENOENT.*give every rank of the job ca\.crt, tls\.crt, tls\.key/u,
    ],
    ['with a certificate that is none', () => ({ 'tls.crt': 'x' }), /tls\.crt is no certificate in PEM/u],
    ['of two authorities', () => ({ 'ca.crt': foreign.ca }), /tls\.crt is not signed by ca\.crt/u],
    ['whose authority is a rank', () => ({ 'ca.crt': identity.certificate }), /ca\.crt is not the certificate of an authority/u],
    ['with the key of another', () => ({ 'tls.key': foreign.key }), /tls\.key does not belong to tls\.crt/u],
    ['with a key that is none', () => ({ 'tls.key': 'secret words' }), /tls\.key is no private key in PEM/u],
    ['with the authority as certificate', () => ({ 'tls.crt': identity.ca }), /tls\.crt lacks the DNS name rank\.sdxl\.internal/u],
  ];
  for (const [name, change, says] of rows) {
    it(`${name} is refused, and no content told`, async () => {
      await assert.rejects(readIdentity(await folder(name, change())), (error: Error & { code?: string }) => {
        assert.equal(error.code, 'USAGE');
        assert.match(error.message, says);
        assert.doesNotMatch(error.message, /secret words|PRIVATE KEY/u);
        return true;
      });
    });
  }
});
