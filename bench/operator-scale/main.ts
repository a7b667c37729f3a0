/**
 * The operator with very many jobs, against a real API server: `npm run bench:operator -- [--jobs 1000,5000] [--starts 5] [--concurrency 16]`.
 *
 * For each number of jobs, in a control plane of its own: (1) the children of so many jobs are applied by the operator's own client without an
 * operator, which is the server's own speed; (2) so many SdxlJobs are created and the operator is started on them, until every batch/v1 Job is there
 * and nothing moves any more; (3) the operator is started once more on what is settled, and may write nothing. Without jobs it is started
 * `--starts` times. With `--controllers` the Job controller makes the pods, which stay pending for want of nodes.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { jobResource, storedJob } from '../../operator/api/index.js';
import { pathOf, resources, type ApiClient, type KubeObject } from '../../operator/kube/index.js';
import { Cluster } from '../../test/support/cluster/index.js';
import { installCrd, openClient } from '../../test/support/sdxl-crd.js';
import { quantile, total, type Sample } from './exposition.js';
import { OperatorUnderTest } from './operator-under-test.js';
import { applyRaw, countOf, inLanes } from './raw.js';

const { values } = parseArgs({
  options: {
    jobs: { type: 'string', default: '1000,5000' },
    starts: { type: 'string', default: '5' },
    concurrency: { type: 'string', default: '16' },
    controllers: { type: 'boolean', default: false },
  },
});
const lanes = Number(values.concurrency);
const namespace = 'scale';
const mutating = ['POST', 'PUT', 'PATCH', 'DELETE'];
const limits = { restMiB: 120, readySeconds: 2, peakMiB: 250 };
/** Nothing has been reconciled for so long: it is settled. Jobs without pods are looked at again in longer and longer intervals. */
const quietMs = 3_000;

const failures: string[] = [];
if (Number(values.starts) > 0) await measureStarts(Number(values.starts));
for (const count of values.jobs.split(',').map(Number)) if (count > 0) await measureJobs(count);
for (const failure of failures) process.stdout.write(`MISSED: ${failure}\n`);
process.exitCode = failures.length === 0 ? 0 : 1;

async function measureStarts(count: number): Promise<void> {
  await using cluster = await Cluster.start({ parts: 'api-server' });
  const client = await openClient(cluster);
  await installCrd(client);
  const ready: number[] = [];
  const resident: number[] = [];
  for (let start = 0; start < count; start++) {
    await using operator = await OperatorUnderTest.start(cluster);
    ready.push(operator.readySeconds);
    await delay(3_000);
    resident.push(operator.residentMiB.now);
  }
  show(`without jobs, median of ${String(count)} starts`, [
    ['process start to /readyz 200', `${median(ready).toFixed(2)} s (${ready.map((seconds) => seconds.toFixed(2)).join(', ')})`],
    ['resident memory 3 s later', `${median(resident).toFixed(0)} MiB (${resident.map((size) => size.toFixed(0)).join(', ')})`],
  ]);
  check(median(ready) <= limits.readySeconds, `ready in ${median(ready).toFixed(2)} s, not ${String(limits.readySeconds)} s`);
  check(median(resident) <= limits.restMiB, `${median(resident).toFixed(0)} MiB at rest, not ${String(limits.restMiB)} MiB`);
}

async function measureJobs(count: number): Promise<void> {
  const controllerManagerFlags = ['--kube-api-qps=1000', '--kube-api-burst=2000', '--concurrent-job-syncs=16'];
  const parts = values.controllers ? ({ parts: 'full', nodes: 0, controllerManagerFlags } as const) : ({ parts: 'api-server' } as const);
  await using cluster = await Cluster.start(parts);
  const client = await openClient(cluster);
  await installCrd(client);
  for (const name of [namespace, 'raw'])
    await client.create(
      { ...resources.job, group: '', kind: 'Namespace', plural: 'namespaces' },
      { metadata: { name } },
      AbortSignal.timeout(30_000),
    );
  if (values.controllers) await delay(3_000); // ServiceAccounts of the namespaces.

  const first = storedJob(await createJob(client, 0));
  const raw = await applyRaw(client, first, 'raw', count, lanes);
  const created = await inLanes(count - 1, lanes, async (index) => {
    await createJob(client, index + 1);
  });

  const args = ['--concurrency', String(lanes), '--qps', '10000'];
  const rows: [string, string][] = [
    ['the same children applied without an operator', `${raw.seconds.toFixed(1)} s, ${rate(count * raw.each, raw.seconds)}`],
    ['creating the SdxlJobs', `${created.toFixed(1)} s, ${rate(count, created)}`],
  ];
  {
    const started = performance.now();
    await using operator = await OperatorUnderTest.start(cluster, args);
    while ((await countOf(client, resources.job, namespace)) < count) await delay(250);
    const seconds = (performance.now() - started) / 1000;
    await settled(operator);
    const samples = await operator.samples();
    const peak = operator.residentMiB;
    const cpu = operator.cpuSeconds;
    const calls = total(samples, 'sdxl_operator_api_requests_total', ({ verb }) => verb !== 'WATCH');
    rows.push(
      ['all batch/v1 Jobs created, from the start of the process', `${seconds.toFixed(1)} s, ${rate(count, seconds)}`],
      ['against applying alone', `${(seconds / raw.seconds).toFixed(2)} ×, ${(raw.seconds / seconds).toFixed(2)} of its rate`],
      ['API calls a job', `${(calls / count).toFixed(2)}: ${callsOf(samples, count)}`],
      ['reconciles a job', (total(samples, 'sdxl_operator_reconcile_total') / count).toFixed(2)],
      ['reconcile p50 / p99', `${milliseconds(samples, 0.5)} / ${milliseconds(samples, 0.99)}`],
      ['processor time of the operator', `${cpu.toFixed(1)} s`],
      ['resident memory: peak, then settled', `${peak.peak.toFixed(0)} MiB, ${peak.now.toFixed(0)} MiB`],
    );
    check(peak.peak <= limits.peakMiB, `${String(count)} jobs: a peak of ${peak.peak.toFixed(0)} MiB, not ${String(limits.peakMiB)} MiB`);
  }
  await using again = await OperatorUnderTest.start(cluster, args);
  await settled(again);
  const samples = await again.samples();
  // Whether what happened within ten minutes was told is asked by telling it.
  const wasTold = ({ resource, code }: Sample['labels']): boolean => resource === 'events' && code === '409';
  const calls = 'sdxl_operator_api_requests_total';
  const writes = total(samples, calls, (labels) => mutating.includes(labels['verb'] ?? '') && !wasTold(labels));
  const looks = total(samples, 'sdxl_operator_reconcile_total');
  rows.push(
    ['started again: ready', `${again.readySeconds.toFixed(2)} s`],
    ['started again: reconciles, writes', `${String(looks)}, ${String(writes)}`],
    ['started again: events that were told already', String(total(samples, calls, wasTold))],
    ['started again: resident memory, peak', `${again.residentMiB.peak.toFixed(0)} MiB`],
  );
  show(`${String(count)} jobs, ${String(lanes)} at once`, rows);
  check(
    looks >= count && writes === 0,
    `${String(count)} jobs: the second pass made ${String(looks)} reconciles and ${String(writes)} writes`,
  );
  check(again.residentMiB.peak <= limits.peakMiB, `${String(count)} jobs: ${again.residentMiB.peak.toFixed(0)} MiB when started again`);
}

async function createJob(client: ApiClient, index: number): Promise<KubeObject> {
  const spec = { model: { path: 'models/tiny-sdxl' }, prompt: 'flowers, rabbit' };
  const body = { apiVersion: 'sdxl.io/v1alpha1', kind: 'SdxlJob', metadata: { name: `job-${String(index)}` }, spec };
  return client.call({ verb: 'POST', path: pathOf(jobResource, namespace), body, signal: AbortSignal.timeout(60_000) });
}

/** Resolves when the queue is empty and no status, child or event has been written for a while. */
async function settled(operator: OperatorUnderTest): Promise<void> {
  let [seen, since] = [-1, performance.now()];
  while (performance.now() - since < quietMs) {
    const samples = await operator.samples();
    const writes = total(samples, 'sdxl_operator_api_requests_total', ({ verb = '' }) => mutating.includes(verb));
    if (total(samples, 'sdxl_operator_queue_depth') > 0 || writes !== seen) [seen, since] = [writes, performance.now()];
    await delay(500);
  }
}

function callsOf(samples: readonly Sample[], count: number): string {
  const calls = new Map<string, number>();
  for (const { name, labels, value } of samples) {
    if (name !== 'sdxl_operator_api_requests_total') continue;
    const key = `${labels['verb'] ?? ''} ${labels['resource'] ?? ''}${(labels['code'] ?? '').startsWith('2') ? '' : ` ${labels['code'] ?? ''}`}`;
    calls.set(key, (calls.get(key) ?? 0) + value);
  }
  return [...calls]
    .sort(([, a], [, b]) => b - a)
    .map(([key, value]) => `${key} ${(value / count).toFixed(2)}`)
    .join(', ');
}

function milliseconds(samples: readonly Sample[], share: number): string {
  return `${(quantile(samples, 'sdxl_operator_reconcile_seconds', share) * 1000).toFixed(0)} ms`;
}

function rate(count: number, seconds: number): string {
  return `${(count / seconds).toFixed(0)}/s`;
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;
}

function check(holds: boolean, failure: string): void {
  if (!holds) failures.push(failure);
}

function show(title: string, rows: readonly (readonly [string, string])[]): void {
  const width = Math.max(...rows.map(([name]) => name.length));
  process.stdout.write(`${title}\n${rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}\n`).join('')}\n`);
}
