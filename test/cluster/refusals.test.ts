/** What counts as a fault of the operator: that it lacks a right, and not that the cluster refuses a child of a job, which is told in the job's status. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { after, before, suite, test } from 'node:test';
import { AdmissionregistrationV1Api, CoreV1Api, RbacAuthorizationV1Api } from '@kubernetes/client-node';
import { parse } from 'yaml';
import { conditionOf, type JobStatus } from '../../operator/api/index.js';
import type { ApiClient } from '../../operator/kube/index.js';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { OperatorProcess } from '../support/operator.js';
import { installCrd, openClient } from '../support/sdxl-crd.js';
import { SdxlJobs } from '../support/sdxl-jobs.js';

const { skip, cluster } = clusterSuite({ nodes: [] });

interface Rule {
  readonly apiGroups: string[];
  readonly resources: string[];
  readonly verbs: string[];
}

function waitsFor(reason: string): (status: JobStatus) => boolean {
  return (status) => conditionOf(status, 'GangReady')?.reason === reason;
}

suite('refusals', { skip }, () => {
  let client: ApiClient;

  before(async () => {
    client = await openClient(cluster());
    await installCrd(client);
  });
  after(() => {
    client[Symbol.dispose]();
  });

  test('a quota that refuses a child is no fault of the operator', async () => {
    await using namespace = await cluster().namespace();
    const core = cluster().api(CoreV1Api);
    const quota = { namespace: namespace.name, name: 'full' };
    await core.createNamespacedResourceQuota({
      ...quota,
      body: { metadata: { name: quota.name }, spec: { hard: { 'count/services': '0' } } },
    });
    await waitFor('quota in force', async () => (await core.readNamespacedResourceQuota(quota)).status?.used?.['count/services']);
    await using operator = await OperatorProcess.start(cluster(), { args: ['--namespace', namespace.name] });
    const jobs = new SdxlJobs(cluster(), client, { namespace: namespace.name, context: () => operator.log });
    await jobs.create('refused');
    await jobs.until('refused', 'refusal', waitsFor('QuotaExceeded'));
    await operator.measures(/^sdxl_operator_reconcile_total\{result="refused"\} [2-9]/mu);
    assert.match(await operator.metrics(), /^sdxl_operator_reconcile_total\{result="error"\} 0$/mu);
  });

  test('an admission webhook that does not answer is told of, and the job goes on once it is gone', async () => {
    await using namespace = await cluster().namespace();
    await using operator = await OperatorProcess.start(cluster(), { args: ['--namespace', namespace.name] });
    const jobs = new SdxlJobs(cluster(), client, { namespace: namespace.name, context: () => operator.log });
    const admission = cluster().api(AdmissionregistrationV1Api);
    await admission.createValidatingWebhookConfiguration({
      body: {
        metadata: { name: 'silent' },
        webhooks: [
          {
            name: 'silent.example.com',
            admissionReviewVersions: ['v1'],
            sideEffects: 'None',
            failurePolicy: 'Fail',
            clientConfig: { url: 'https://127.0.0.1:1/' },
            namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': namespace.name } },
            rules: [{ apiGroups: [''], apiVersions: ['v1'], operations: ['CREATE'], resources: ['configmaps'] }],
          },
        ],
      },
    });
    await jobs.create('unheard');
    const status = await jobs.until('unheard', 'refusal', waitsFor('ChildRefused'));
    assert.match(conditionOf(status, 'GangReady')?.message ?? '', /failed calling webhook "silent\.example\.com"/u);
    await admission.deleteValidatingWebhookConfiguration({ name: 'silent' });
    await jobs.until('unheard', 'pod', ({ gang }) => gang?.pods?.length === 1);
  });

  test('a right that the operator lacks is one', async () => {
    await using namespace = await cluster().namespace();
    const token = await accountWithout('networkpolicies', namespace.name);
    await using operator = await OperatorProcess.start(cluster(), { token, args: ['--namespace', namespace.name] });
    const jobs = new SdxlJobs(cluster(), client, { namespace: namespace.name, context: () => operator.log });
    await jobs.create('refused');
    const status = await jobs.until('refused', 'refusal', waitsFor('ChildRefused'));
    assert.match(conditionOf(status, 'GangReady')?.message ?? '', /cannot \w+ resource "networkpolicies"/u);
    await operator.measures(/^sdxl_operator_reconcile_total\{result="error"\} [2-9]/mu);
    assert.match(await operator.metrics(), /^sdxl_operator_reconcile_total\{result="refused"\} 0$/mu);
  });

  /** The token of an account that has the rights of the chart but for one resource. */
  async function accountWithout(resource: string, namespace: string): Promise<string> {
    const rules = (parse(await readFile('charts/sdxl-operator/files/rules.yaml', 'utf8')) as readonly Rule[]).filter(
      ({ resources }) => !resources.includes(resource),
    );
    const metadata = { name: 'operator' };
    const core = cluster().api(CoreV1Api);
    const rights = cluster().api(RbacAuthorizationV1Api);
    await core.createNamespacedServiceAccount({ namespace, body: { metadata } });
    await rights.createNamespacedRole({ namespace, body: { metadata, rules } });
    await rights.createNamespacedRoleBinding({
      namespace,
      body: {
        metadata,
        roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: metadata.name },
        subjects: [{ kind: 'ServiceAccount', name: metadata.name, namespace }],
      },
    });
    const { status } = await core.createNamespacedServiceAccountToken({
      namespace,
      name: metadata.name,
      body: { spec: { audiences: [] } },
    });
    return status?.token ?? '';
  }
});
