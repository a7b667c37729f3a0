/**
 * The operator under exactly the rights that the chart gives it, on an API server that writes down every call and guards owner references:
 * nothing is refused through whole lives of jobs, and nothing is granted that none of them needs.
 */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { CoreV1Api } from '@kubernetes/client-node';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { promisedRights } from '../support/contract.js';
import { Administrator } from '../support/kubectl.js';
import { OperatorProcess } from '../support/operator.js';
import { openClient } from '../support/sdxl-crd.js';
import { standInRanks } from '../support/sdxl-images.js';
import { SdxlJobs, type Fields } from '../support/sdxl-jobs.js';
import { skipWithout } from '../support/tools.js';

const folder = await mkdtemp(join(tmpdir(), 'audit-'));
const auditLog = join(folder, 'audit.log');
await writeFile(
  join(folder, 'policy.yaml'),
  JSON.stringify({
    apiVersion: 'audit.k8s.io/v1',
    kind: 'Policy',
    omitStages: ['RequestReceived', 'ResponseStarted'],
    rules: [{ level: 'Metadata' }],
  }),
);
const { skip: noCluster, cluster } = clusterSuite({
  nodes: [{ images: { 'ghcr.io/sdxl-operator/runtime-cpu': standInRanks } }],
  apiServerFlags: [
    `--audit-policy-file=${join(folder, 'policy.yaml')}`,
    `--audit-log-path=${auditLog}`,
    '--enable-admission-plugins=OwnerReferencesPermissionEnforcement',
  ],
});
const skip = noCluster === false ? skipWithout('helm') : noCluster;
after(() => rm(folder, { recursive: true, force: true }));

interface Call {
  readonly verb: string;
  readonly user: { readonly username: string };
  readonly objectRef?: {
    readonly resource?: string;
    readonly subresource?: string;
    readonly apiGroup?: string;
    readonly namespace?: string;
  };
  readonly responseStatus?: { readonly code?: number };
  readonly requestURI: string;
}

/** Rights that these jobs don't need: of controllers that are not installed, and of moments that come seldom. */
const notHere = new Set([
  ...['create', 'patch'].flatMap((verb) => [`${verb} podgroups scheduling.x-k8s.io`, `${verb} podgroups scheduling.volcano.sh`]),
  // The guard of owner references asks for it, and makes no call of its own.
  'update sdxljobs/finalizers sdxl.io',
  // After a conflict, before a gang is taken for lost, after an answer that was lost, and where the Job controller makes no pods.
  ...['get sdxljobs sdxl.io', 'get jobs batch', 'patch jobs batch', 'list events '],
]);

suite('under the rights of the chart', { skip }, () => {
  let admin: Administrator;
  const used = new Set<string>();

  before(async () => {
    admin = await Administrator.of(cluster());
  });

  const scopes: Readonly<Record<string, { readonly set: readonly string[]; readonly args: readonly string[] }>> = {
    everywhere: { set: [], args: [] },
    pictures: { set: ['--set', 'scope.namespace=pictures', '--set', 'crds.install=false'], args: ['--namespace', 'pictures'] },
  };
  for (const [scope, { set, args }] of Object.entries(scopes)) {
    test(
      `with jobs of ${scope === 'everywhere' ? 'every namespace' : 'one namespace'} nothing is refused`,
      { timeout: 180_000 },
      async () => {
        const system = `system-${scope}`;
        for (const namespace of [scope, system]) await admin.kubectl('create', 'namespace', namespace);
        // Its own pods have no image here: it runs as a process of this machine instead, by the account's token.
        await admin.helm('install', scope, 'charts/sdxl-operator', '--namespace', system, '--set', 'replicas=0', ...set);
        const account = `${scope}-sdxl-operator`;
        const token = (await admin.kubectl('-n', system, 'create', 'token', account)).trim();
        const leader = ['--leader-elect', '--leader-election-namespace', system];
        {
          await using operator = await OperatorProcess.start(cluster(), { token, args: [...leader, ...args] });
          const client = await openClient(cluster());
          const jobs = new SdxlJobs(cluster(), client, { namespace: scope, timeoutMs: 90_000, context: () => operator.log });
          await Promise.all(Object.entries(lives).map(([name, live]) => live(jobs, name)));
          await refusedOnce(jobs, scope);
        }
        const calls = await waitFor('end of its watches in the audit log', async () => {
          const all = await callsOf(`system:serviceaccount:${system}:${account}`);
          const ended = all.filter(({ verb }) => verb === 'watch').map(({ objectRef }) => objectRef?.resource);
          return ['sdxljobs', 'jobs', 'pods'].every((resource) => ended.includes(resource)) ? all : undefined;
        });
        assert.ok(calls.length > 50, String(calls.length));
        const answered = (matches: (code: number) => boolean): ReadonlySet<string> =>
          new Set(
            calls.filter(({ responseStatus }) => matches(responseStatus?.code ?? 0)).map(({ verb, requestURI }) => `${verb} ${requestURI}`),
          );
        // The guard of owner references knows a new kind only after a while, and until then refuses what it lets pass afterwards.
        const granted = answered((code) => code < 300);
        assert.deepEqual(
          [...answered((code) => code === 403)].filter((call) => !granted.has(call)),
          [],
        );
        if (scope !== 'everywhere') {
          const outside = calls.filter(
            ({ objectRef }) => objectRef?.namespace !== undefined && ![scope, system].includes(objectRef.namespace),
          );
          assert.deepEqual(
            outside.map(({ requestURI }) => requestURI),
            [],
          );
        }
        for (const { verb, objectRef } of calls) {
          const { resource = '', subresource, apiGroup = '' } = objectRef ?? {};
          used.add(`${verb} ${resource}${subresource === undefined ? '' : `/${subresource}`} ${apiGroup}`);
          // An apply that makes an object asks for both.
          if (verb === 'patch') used.add(`create ${resource} ${apiGroup}`);
        }
      },
    );
  }

  test('every right is used', async () => {
    const granted = (await promisedRights()).map(({ verb, resource, group }) => `${verb} ${resource} ${group}`);
    assert.deepEqual(granted.filter((right) => !used.has(right) && !notHere.has(right)).sort(), []);
    const known = new Set(granted);
    const others = [...used].filter((right) => !known.has(right) && !right.includes(' leases ') && !right.startsWith('create sdxljobs'));
    assert.deepEqual(others.sort(), []);
  });
});

/** Calls of a user that are over, as far as the API server has written them down. */
async function callsOf(username: string): Promise<readonly Call[]> {
  // The last line may be half written.
  const lines = (await readFile(auditLog, 'utf8')).split('\n').slice(0, -1);
  return lines.map((line) => JSON.parse(line) as Call).filter(({ user }) => user.username === username);
}

/** Children that are there already, for a quota kept the Job from following them, are applied again. */
async function refusedOnce(jobs: SdxlJobs, namespace: string): Promise<void> {
  const core = cluster().api(CoreV1Api);
  const quota = { namespace, name: 'no-jobs' };
  await core.createNamespacedResourceQuota({
    namespace,
    body: { metadata: { name: quota.name }, spec: { hard: { 'count/jobs.batch': '0' } } },
  });
  await waitFor('quota in force', async () => (await core.readNamespacedResourceQuota(quota)).status?.used?.['count/jobs.batch']);
  await jobs.create('refused', {});
  await jobs.until('refused', 'refusal', ({ conditions }) => conditions?.some(({ reason }) => reason === 'QuotaExceeded') === true);
  await core.deleteNamespacedResourceQuota(quota);
  await jobs.completed('refused');
}

const env = (variables: Readonly<Record<string, string>>): Fields => ({
  env: Object.entries(variables).map(([name, value]) => ({ name, value })),
});

/** Lives of jobs that together need everything. */
const lives: Readonly<Record<string, (jobs: SdxlJobs, name: string) => Promise<unknown>>> = {
  'removes-itself': async (jobs, name) => {
    await jobs.create(name, { ttlSecondsAfterFinished: 1 });
    await jobs.gone(name);
  },
  restarts: async (jobs, name) => {
    await jobs.create(name, { pods: env({ EXIT_CODE: '75' }), failurePolicy: { backoffSeconds: 0, maxRestarts: 1 } });
    await jobs.until(name, 'failure', ({ phase }) => phase === 'Failed');
  },
  'two-pods': async (jobs, name) => {
    await jobs.create(name, { parallelism: { patchDegree: 2, ranksPerPod: 1 }, pods: env({ RUN_SECONDS: '600' }) });
    await jobs.until(name, 'readiness', ({ phase }) => phase === 'Running');
    await jobs.patch(name, { suspend: true });
    await jobs.until(name, 'suspension', ({ phase }) => phase === 'Suspended');
    await jobs.delete(name);
    await jobs.gone(name);
  },
  'no-place': async (jobs, name) => {
    await jobs.create(name, { pods: { nodeSelector: { none: 'such' } } });
    await jobs.until(name, 'wait for a node', ({ conditions }) => conditions?.some(({ reason }) => reason === 'Unschedulable') === true);
  },
};
