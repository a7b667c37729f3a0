/** The kustomize overlays, built by kustomize itself, and held against the chart: there are two ways to install and one thing to be installed. */
import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { suite, test } from 'node:test';
import { stringify } from 'yaml';
import { at, only, parseObjects, titles, type KubernetesObject } from '../support/manifests.js';
import { restrictedViolations } from '../support/pod-security.js';
import { runTool, skipWithout } from '../support/tools.js';

const build = async (overlay: string): Promise<readonly KubernetesObject[]> =>
  parseObjects(await runTool('kustomize', ['build', `manifests/overlays/${overlay}`]));

const podSpec = (objects: readonly KubernetesObject[]): unknown => at(only(objects, 'Deployment'), 'spec', 'template', 'spec');
const args = (objects: readonly KubernetesObject[]): unknown => at(podSpec(objects), 'containers', 0, 'args');

const base = (namespace: string): readonly string[] => [
  'CustomResourceDefinition /sdxljobs.sdxl.io',
  `Deployment ${namespace}/sdxl-operator`,
  `NetworkPolicy ${namespace}/sdxl-operator`,
  `PodDisruptionBudget ${namespace}/sdxl-operator`,
  `Role ${namespace}/sdxl-operator-leader-election`,
  `RoleBinding ${namespace}/sdxl-operator-leader-election`,
  `Service ${namespace}/sdxl-operator-metrics`,
  `ServiceAccount ${namespace}/sdxl-operator`,
];
const clusterWide = [
  ...base('sdxl-system'),
  'ClusterRole /sdxl-operator',
  'ClusterRole /sdxl-operator-edit',
  'ClusterRole /sdxl-operator-view',
  'ClusterRoleBinding /sdxl-operator',
  'Namespace /sdxl-system',
];
const namespaced = (namespace: string): readonly string[] => [
  ...base(namespace),
  `Role ${namespace}/sdxl-operator`,
  `RoleBinding ${namespace}/sdxl-operator`,
];
const expected: Readonly<Record<string, readonly string[]>> = {
  'cluster-wide': clusterWide,
  namespaced: namespaced('sdxl'),
  gpu: [
    ...clusterWide,
    'PodMonitor sdxl-system/sdxl-operator-jobs',
    'PriorityClass /sdxl-gang',
    'PrometheusRule sdxl-system/sdxl-operator',
    'ServiceMonitor sdxl-system/sdxl-operator',
  ],
  demo: [
    ...namespaced('sdxl-demo').filter((title) => !title.startsWith('PodDisruptionBudget')),
    'Namespace /sdxl-demo',
    'SdxlJob sdxl-demo/flowers-rabbit',
  ],
};

suite('the overlays', { skip: skipWithout('kustomize') }, () => {
  for (const [overlay, wanted] of Object.entries(expected)) {
    test(`${overlay} has these objects and no others`, async () => {
      assert.deepEqual(titles(await build(overlay)), [...wanted].sort());
    });

    test(`${overlay} satisfies Pod Security "restricted"`, async () => {
      assert.deepEqual(restrictedViolations(podSpec(await build(overlay))), []);
    });

    test(`${overlay} binds its roles to its own account`, async () => {
      const objects = await build(overlay);
      const account = only(objects, 'ServiceAccount').metadata;
      for (const binding of objects.filter(({ kind }) => kind.endsWith('RoleBinding'))) {
        assert.deepEqual(binding['subjects'], [{ kind: 'ServiceAccount', name: account.name, namespace: account.namespace }]);
        only(objects, String(at(binding, 'roleRef', 'kind')), String(at(binding, 'roleRef', 'name')));
      }
    });
  }

  test('one for a namespace watches its own namespace only', async () => {
    assert.ok((args(await build('namespaced')) as readonly string[]).includes('--namespace=$(POD_NAMESPACE)'));
    assert.ok((args(await build('demo')) as readonly string[]).includes('--namespace=$(POD_NAMESPACE)'));
    assert.ok(!JSON.stringify(args(await build('cluster-wide'))).includes('--namespace'));
  });

  test("a user's own overlay takes them with another name, namespace, image and labels", async () => {
    const folder = await mkdtemp(join(tmpdir(), 'overlay-'));
    try {
      const here = relative(folder, process.cwd());
      const overlay = {
        ...{
          apiVersion: 'kustomize.config.k8s.io/v1beta1',
          kind: 'Kustomization',
          namespace: 'team',
          namePrefix: 'our-',
          nameSuffix: '-1',
        },
        resources: [`${here}/manifests/overlays/cluster-wide`],
        components: [`${here}/manifests/components/monitoring`, `${here}/manifests/components/dashboards`],
        images: [{ name: 'ghcr.io/sdxl-operator/operator', newName: 'registry.example.com/operator', newTag: '1.2' }],
        replicas: [{ name: 'sdxl-operator', count: 3 }],
        labels: [{ pairs: { team: 'pictures' }, includeSelectors: true }],
        secretGenerator: [{ name: 'sdxl-operator-token-key', literals: [`key=${'0'.repeat(64)}`] }],
      };
      await writeFile(join(folder, 'kustomization.yaml'), stringify(overlay));
      const objects = parseObjects(await runTool('kustomize', ['build', folder]));
      const deployment = only(objects, 'Deployment');
      assert.equal(deployment.metadata.name, 'our-sdxl-operator-1');
      assert.equal(at(deployment, 'spec', 'replicas'), 3);
      assert.equal(at(podSpec(objects), 'containers', 0, 'image'), 'registry.example.com/operator:1.2');
      assert.equal(at(podSpec(objects), 'volumes', 0, 'secret', 'secretName'), only(objects, 'Secret').metadata.name);
      assert.equal(at(podSpec(objects), 'serviceAccountName'), only(objects, 'ServiceAccount').metadata.name);
      for (const binding of objects.filter(({ kind }) => kind.endsWith('RoleBinding'))) {
        assert.equal(at(binding, 'subjects', 0, 'namespace'), 'team', binding.kind);
        only(objects, String(at(binding, 'roleRef', 'kind')), String(at(binding, 'roleRef', 'name')));
      }
      assert.equal(only(objects, 'CustomResourceDefinition').metadata.name, 'sdxljobs.sdxl.io');
      // Pods of gangs are the operator's to label, and not kustomize's.
      assert.ok(!JSON.stringify(at(only(objects, 'NetworkPolicy'), 'spec', 'egress')).includes('pictures'));
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  test('the demo needs no Secret', async () => {
    const pod = podSpec(await build('demo'));
    assert.deepEqual(
      [at(pod, 'volumes'), at(pod, 'containers', 0, 'volumeMounts')].map((list) => list ?? []),
      [[], []],
    );
  });
});

suite('chart and overlay', { skip: skipWithout('kustomize', 'helm') }, () => {
  const render = async (...values: readonly string[]): Promise<readonly KubernetesObject[]> => {
    const set = values.flatMap((value) => ['--set', value]);
    return parseObjects(
      await runTool('helm', [
        'template',
        'sdxl-operator',
        'charts/sdxl-operator',
        '--namespace',
        'sdxl-system',
        '--kube-version',
        '1.34.0',
        ...set,
      ]),
    );
  };

  test('run the same pods', async () => {
    const differing = ['args', 'matchLabels'];
    const comparable = (objects: readonly KubernetesObject[]): unknown => {
      const { replicas, strategy } = only(objects, 'Deployment')['spec'] as Readonly<Record<string, unknown>>;
      const text = JSON.stringify({ replicas, strategy, pod: podSpec(objects) }, (key, value: unknown) =>
        differing.includes(key) ? undefined : value,
      );
      return JSON.parse(text) as unknown;
    };
    assert.deepEqual(comparable(await build('cluster-wide')), comparable(await render()));
  });

  test('give the operator the same options where both set one', async () => {
    const chart = args(await render()) as readonly string[];
    for (const arg of args(await build('cluster-wide')) as readonly string[]) assert.ok(chart.includes(arg), arg);
  });

  test('give the operator the same rights, for all namespaces and for one', async () => {
    const rules = (objects: readonly KubernetesObject[], kind: string, name: string): unknown => only(objects, kind, name)['rules'];
    const everywhere = await build('cluster-wide');
    const somewhere = await build('namespaced');
    const wanted = rules(await render(), 'ClusterRole', 'sdxl-operator');
    assert.deepEqual(rules(everywhere, 'ClusterRole', 'sdxl-operator'), wanted);
    assert.deepEqual(rules(somewhere, 'Role', 'sdxl-operator'), wanted);
    assert.deepEqual(rules(await render('scope.namespace=pictures'), 'Role', 'sdxl-operator'), wanted);
    for (const suffix of ['edit', 'view']) {
      const name = `sdxl-operator-${suffix}`;
      assert.deepEqual(rules(everywhere, 'ClusterRole', name), rules(await render(), 'ClusterRole', name));
    }
    const lease = 'sdxl-operator-leader-election';
    assert.deepEqual(rules(everywhere, 'Role', lease), rules(await render(), 'Role', lease));
  });

  test('are watched alike', async () => {
    const monitored = await render(
      'metrics.serviceMonitor.enabled=true',
      'metrics.podMonitor.enabled=true',
      'metrics.prometheusRule.enabled=true',
    );
    const overlay = await build('gpu');
    assert.deepEqual(only(overlay, 'PrometheusRule')['spec'], only(monitored, 'PrometheusRule')['spec']);
    assert.deepEqual(only(overlay, 'PodMonitor')['spec'], only(monitored, 'PodMonitor')['spec']);
    assert.deepEqual(at(only(overlay, 'ServiceMonitor'), 'spec', 'endpoints'), at(only(monitored, 'ServiceMonitor'), 'spec', 'endpoints'));
  });

  test('have the same network policy but for labels', async () => {
    const comparable = (objects: readonly KubernetesObject[]): unknown => ({
      ...(only(objects, 'NetworkPolicy')['spec'] as object),
      podSelector: {},
    });
    assert.deepEqual(comparable(await build('cluster-wide')), comparable(await render()));
  });
});
