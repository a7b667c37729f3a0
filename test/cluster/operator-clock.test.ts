/** An operator whose clock is wrong, beside a control plane whose clock is right: it goes by the server's. */
import assert from 'node:assert/strict';
import { after, before, suite, test } from 'node:test';
import { CoreV1Api } from '@kubernetes/client-node';
import { conditionOf } from '../../operator/api/index.js';
import type { ApiClient } from '../../operator/kube/index.js';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { createJob, OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { SdxlJobs } from '../support/sdxl-jobs.js';
import { jobWith } from '../unit/crds/invalid-jobs.js';

/** Ranks of a first attempt that take their time to end; those of the second have written their images at once. */
const ranks = `test "$1" = build && exit 0
case "$HOSTNAME" in
  slow-1-*) trap 'sleep 6; exit 143' TERM; while :; do sleep 0.1; done ;;
  *) sleep 0.2 ;;
esac`;
const images = { 'ghcr.io/sdxl-operator/runtime-cpu': { entrypoint: ['/bin/sh', '-c', ranks, 'ranks'], user: 10_001 } };
const { skip, cluster } = clusterSuite({ nodes: [{ images }] });

function clockAhead(ms: number): readonly string[] {
  const code = `const Real = Date;
    globalThis.Date = class extends Real {
      constructor(...of) { if (of.length === 0) super(Real.now() + ${String(ms)}); else super(...of); }
      static now() { return Real.now() + ${String(ms)}; }
    };`;
  return ['--import', `data:text/javascript,${encodeURIComponent(code)}`];
}

const hourMs = 3_600_000;

suite('the clock of the operator', { skip }, () => {
  let client: ApiClient;

  before(async () => {
    client = await openClient(cluster());
    await installCrd(client);
  });
  after(() => {
    client[Symbol.dispose]();
  });

  test('an hour ahead: pods that end are waited for, and times are those of the cluster', async () => {
    await using namespace = await cluster().namespace();
    await using operator = await OperatorProcess.start(cluster(), { args: ['--namespace', namespace.name], nodeArgs: clockAhead(hourMs) });
    const jobs = new SdxlJobs(cluster(), client, { namespace: namespace.name, context: () => operator.log });
    await jobs.create('slow', { failurePolicy: { backoffSeconds: 0 }, ttlSecondsAfterFinished: 600 });
    const pod = await jobs.pod('slow', 1, 0, 'start', ({ status }) => status?.phase === 'Running');
    await cluster()
      .api(CoreV1Api)
      .deleteNamespacedPod({ namespace: namespace.name, name: pod.metadata?.name ?? '' });
    await waitFor('the second attempt', async () => ((await jobs.gangs('slow')).has('slow-2') ? true : undefined), {
      intervalMs: 20,
      context: () => operator.log,
    });
    const left = (await jobs.pods('slow', 1)).filter(({ status }) => status?.phase === 'Running');
    assert.deepEqual(left, [], 'ranks of two attempts at once');
    const { startTime = '', completionTime = '' } = await jobs.completed('slow');
    for (const time of [startTime, completionTime]) assert.ok(Math.abs(Date.now() - Date.parse(time)) < 300_000, time);
    assert.equal(await jobs.exists('slow'), true);
  });

  test('an hour behind: what has waited for long is told', async () => {
    await using namespace = await cluster().namespace();
    await using operator = await OperatorProcess.start(cluster(), { args: ['--namespace', namespace.name], nodeArgs: clockAhead(-hourMs) });
    const jobs = new SdxlJobs(cluster(), client, { namespace: namespace.name, timeoutMs: 60_000, context: () => operator.log });
    await createJob(client, namespace.name, jobWith({}, { name: 'unbound' }));
    await jobs.until('unbound', 'warning', (status) => conditionOf(status, 'GangReady')?.reason === 'ClaimNotBound');
  });
});
