/**
 * Ranks in several pods speak mutual TLS with the certificates that the operator made for their attempt; those of one pod listen where nobody else
 * reaches them.
 */
import assert from 'node:assert/strict';
import { randomBytes, X509Certificate } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { connect } from 'node:tls';
import { isTrue, type JobStatus } from '../../operator/api/index.js';
import type { ApiClient } from '../../operator/kube/index.js';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { createJob, OperatorProcess, statusOf } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { offerVolume, sdxlImages } from '../support/sdxl-images.js';
import { SdxlJobs } from '../support/sdxl-jobs.js';
import { jobWith } from '../unit/crds/invalid-jobs.js';

const { skip, cluster } = clusterSuite({ nodes: [{ images: sdxlImages }] });
const name = 'two-pods';
const namespace = 'default';

interface Secret {
  readonly data: Readonly<Record<string, string>>;
}

interface Pods {
  readonly items: readonly { readonly status?: { readonly podIP?: string } }[];
}

/** The certificate of whoever answers; a caller without one is turned away after that. */
async function certificateAt(host: string, port: number): Promise<X509Certificate> {
  return await new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: 5_000, rejectUnauthorized: false, minVersion: 'TLSv1.3', ALPNProtocols: ['h2'] }, () => {
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      if (certificate === undefined) reject(new Error('no certificate'));
      else resolve(certificate);
    });
    socket.once('error', reject).once('timeout', () => socket.destroy(new Error('no handshake')));
  });
}

/** Ports on which the process' network is listened to from outside of it. */
async function openPorts(pid: number): Promise<readonly number[]> {
  const tables = await Promise.all(['tcp', 'tcp6'].map((table) => readFile(`/proc/${String(pid)}/net/${table}`, 'utf8')));
  const isLoopback = (address: string): boolean => /^(?:.{6}7F|0{24}01000000)$/u.test(address);
  return tables
    .flatMap((table) => table.trim().split('\n').slice(1))
    .map((line) => line.trim().split(/\s+/u))
    .filter(([, local = '', , state]) => state === '0A' && !isLoopback(local.split(':')[0] ?? ''))
    .map(([, local = '']) => Number.parseInt(local.split(':')[1] ?? '', 16));
}

suite('connections of ranks', { skip }, () => {
  let client: ApiClient;

  before(async () => {
    client = await openClient(cluster());
    await installCrd(client);
  });
  after(() => {
    client[Symbol.dispose]();
  });

  test('a job of two pods is made over TLS, and its certificates stay through a restart of the operator', async () => {
    const pictures = await offerVolume(cluster(), namespace, `${name}-output`);
    const key = join(cluster().directory, 'token-key');
    await writeFile(key, randomBytes(32));
    const args = ['--token-key-file', key];
    await using first = await OperatorProcess.start(cluster(), { args });
    const spec = { parallelism: { patchDegree: 2, ranksPerPod: 1 }, width: 256, height: 256, numInferenceSteps: 30 };
    await createJob(client, namespace, jobWith(spec, { name }));
    const get = <T>(path: string): Promise<T> => client.call<T>({ verb: 'GET', path, signal: AbortSignal.timeout(30_000) });
    const secret = (): Promise<Secret> => get<Secret>(`/api/v1/namespaces/${namespace}/secrets/${name}-1`);

    const { data } = await waitFor('the certificates', secret, { context: () => first.log });
    await first.end('SIGKILL');
    await using second = await OperatorProcess.start(cluster(), { args });
    const authority = new X509Certificate(Buffer.from(data['ca.crt'] ?? '', 'base64'));
    const seen = await waitFor(
      'a rank that shows its certificate',
      async () => {
        const { items } = await get<Pods>(`/api/v1/namespaces/${namespace}/pods?labelSelector=batch.kubernetes.io/job-completion-index=0`);
        const address = items[0]?.status?.podIP;
        return address === undefined ? undefined : certificateAt(address, 29_500);
      },
      { timeoutMs: 180_000, intervalMs: 20, context: () => `${second.log}\n${cluster().directory}` },
    );
    assert.ok(seen.verify(authority.publicKey));
    assert.equal(seen.checkHost('rank.sdxl.internal'), 'rank.sdxl.internal');

    const status = await waitFor<JobStatus>(
      'the end of the job',
      async () => {
        const now = await statusOf(client, namespace, name);
        return isTrue(now, 'Complete') || isTrue(now, 'Failed') ? now : undefined;
      },
      { timeoutMs: 300_000, context: () => second.log },
    );
    assert.deepEqual([status.phase, status.attempt, status.restarts], ['Complete', 1, 0], JSON.stringify(status));
    assert.deepEqual((await secret()).data, data);
    const picture = await readFile(join(pictures, 'output.png'));
    assert.deepEqual([...picture.subarray(1, 4)], [...Buffer.from('PNG')]);
  });

  test('ranks of one pod listen to nobody outside of it, but for their metrics', async () => {
    await using operator = await OperatorProcess.start(cluster());
    const jobs = new SdxlJobs(cluster(), client, { namespace, context: () => operator.log });
    await jobs.create('one-pod', { parallelism: { patchDegree: 2 }, width: 256, height: 256, numInferenceSteps: 1000 });
    await jobs.until('one-pod', 'first step', ({ progress }) => (progress?.step ?? 0) > 0);
    const [pod = {}] = await jobs.pods('one-pod', 1);
    const { launcher } = await jobs.processes(pod, 2);
    assert.deepEqual(await openPorts(launcher), [9400]);
    await jobs.delete('one-pod');
    await jobs.gone('one-pod');
  });
});
