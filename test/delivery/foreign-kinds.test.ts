/** Objects for the Prometheus operator, Argo CD and Flux, which are not installed here, against the schemas that these projects publish. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { suite, test } from 'node:test';
import { foreignProblems, isForeign } from '../support/foreign-kinds.js';
import { parseObjects, titles, type KubernetesObject } from '../support/manifests.js';
import { runTool, skipWithout } from '../support/tools.js';

const monitors = ['serviceMonitor', 'podMonitor', 'prometheusRule'];

async function assertValid(objects: readonly KubernetesObject[], count: number): Promise<void> {
  const foreign = objects.filter(isForeign);
  assert.equal(foreign.length, count, titles(objects).join('\n'));
  for (const object of foreign) assert.deepEqual(await foreignProblems(object), [], object.kind);
}

test("the chart's monitors and rules", { skip: skipWithout('helm') }, async () => {
  const set = monitors.flatMap((name) => ['--set', `metrics.${name}.enabled=true,metrics.${name}.labels.release=prometheus`]);
  const everywhere = ['template', 'sdxl-operator', 'charts/sdxl-operator', '--kube-version', '1.34.0', ...set];
  await assertValid(parseObjects(await runTool('helm', everywhere)), 3);
  await assertValid(parseObjects(await runTool('helm', [...everywhere, '--set', 'scope.namespace=pictures'])), 3);
});

test("the overlay's monitors and rules", { skip: skipWithout('kustomize') }, async () => {
  await assertValid(parseObjects(await runTool('kustomize', ['build', 'manifests/overlays/gpu'])), 3);
});

test('the examples for Argo CD and Flux', async () => {
  await assertValid(parseObjects(await readFile('manifests/gitops/argocd/application.yaml', 'utf8')), 1);
  await assertValid(parseObjects(await readFile('manifests/gitops/flux/pictures.yaml', 'utf8')), 2);
});

suite('the check itself', () => {
  const monitor = (endpoint: object): KubernetesObject => ({
    apiVersion: 'monitoring.coreos.com/v1',
    kind: 'PodMonitor',
    metadata: { name: 'x' },
    spec: { selector: {}, podMetricsEndpoints: [endpoint] },
  });

  test('finds a field that does not exist', async () => {
    const [problem = ''] = await foreignProblems(monitor({ honourLabels: true }));
    assert.match(problem, /honourLabels/u);
  });

  test('finds a value that cannot be', async () => {
    const [problem = ''] = await foreignProblems(monitor({ interval: 'soon' }));
    assert.match(problem, /interval must match pattern/u);
  });
});
