/** The Helm chart, rendered by helm itself. */
import assert from 'node:assert/strict';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { suite, test } from 'node:test';
import { parse } from 'yaml';
import { at, only, parseObjects, titles, type KubernetesObject } from '../support/manifests.js';
import { restrictedViolations } from '../support/pod-security.js';
import { Workspace } from '../support/sdxl.js';
import { runTool, skipWithout, tryTool } from '../support/tools.js';

const chart = 'charts/sdxl-operator';
const everything = [
  'metrics.serviceMonitor.enabled=true',
  'metrics.podMonitor.enabled=true',
  'metrics.prometheusRule.enabled=true',
  'dashboards.enabled=true',
];

async function render(...values: readonly string[]): Promise<readonly KubernetesObject[]> {
  return parseObjects(await runTool('helm', command(values)));
}

function command(values: readonly string[]): readonly string[] {
  const set = values.flatMap((value) => ['--set', value]);
  return ['template', 'sdxl-operator', chart, '--namespace', 'sdxl-system', '--kube-version', '1.34.0', ...set];
}

suite('the chart', { skip: skipWithout('helm') }, () => {
  test('passes helm lint with nothing to say', async () => {
    const output = await runTool('helm', [
      'lint',
      '--strict',
      '--kube-version',
      '1.34.0',
      chart,
      ...everything.flatMap((value) => ['--set', value]),
    ]);
    assert.match(output, /1 chart\(s\) linted, 0 chart\(s\) failed/u);
  });

  test('renders these objects and no others', async () => {
    const system = 'sdxl-system/sdxl-operator';
    const always = [
      'ClusterRole /sdxl-operator',
      'ClusterRole /sdxl-operator-edit',
      'ClusterRole /sdxl-operator-view',
      'ClusterRoleBinding /sdxl-operator',
      'CustomResourceDefinition /sdxljobs.sdxl.io',
      `Deployment ${system}`,
      `NetworkPolicy ${system}`,
      `PodDisruptionBudget ${system}`,
      `Role ${system}-leader-election`,
      `RoleBinding ${system}-leader-election`,
      `Secret ${system}-token-key`,
      `Service ${system}-metrics`,
      `ServiceAccount ${system}`,
    ];
    assert.deepEqual(titles(await render()), always);
    assert.deepEqual(
      titles(await render(...everything)),
      [
        ...always,
        `ConfigMap ${system}-dashboards`,
        `PodMonitor ${system}-jobs`,
        `PrometheusRule ${system}`,
        `ServiceMonitor ${system}`,
      ].sort(),
    );
  });

  test('for one namespace asks for nothing outside it but the names of roles for users', async () => {
    const objects = await render('scope.namespace=pictures', 'rbac.aggregate=false');
    assert.deepEqual(
      titles(objects).filter((title) => title.includes('Role')),
      [
        'Role pictures/sdxl-operator',
        'Role sdxl-system/sdxl-operator-leader-election',
        'RoleBinding pictures/sdxl-operator',
        'RoleBinding sdxl-system/sdxl-operator-leader-election',
      ],
    );
    assert.ok(args(objects).includes('--namespace=pictures'));
    assert.ok(!args(await render()).some((arg) => arg.startsWith('--namespace')));
  });

  test('holds the CRD as it is, kept when the release goes unless told otherwise', async () => {
    const original = parse(await readFile('crds/sdxl.io_sdxljobs.yaml', 'utf8')) as unknown;
    const kept = only(await render(), 'CustomResourceDefinition');
    assert.deepEqual(kept['spec'], at(original, 'spec'));
    assert.equal(kept.metadata.annotations?.['helm.sh/resource-policy'], 'keep');
    const notKept = only(await render('crds.keep=false'), 'CustomResourceDefinition');
    assert.equal(notKept.metadata.annotations, undefined);
    assert.ok(!titles(await render('crds.install=false')).some((title) => title.startsWith('CustomResourceDefinition')));
  });

  test('satisfies Pod Security "restricted" and gives each container limits and probes', async () => {
    const pod = at(only(await render(), 'Deployment'), 'spec', 'template', 'spec');
    assert.deepEqual(restrictedViolations(pod), []);
    const operator = at(pod, 'containers', 0);
    for (const field of ['livenessProbe', 'readinessProbe', 'startupProbe']) assert.notEqual(at(operator, field), undefined, field);
    assert.notEqual(at(operator, 'resources', 'limits', 'memory'), undefined);
    assert.equal(at(operator, 'securityContext', 'readOnlyRootFilesystem'), true);
  });

  test('every selector matches the pods it is meant for', async () => {
    const objects = await render(...everything);
    const labels = at(only(objects, 'Deployment'), 'spec', 'template', 'metadata', 'labels') as Readonly<Record<string, string>>;
    const selectors = {
      Deployment: at(only(objects, 'Deployment'), 'spec', 'selector', 'matchLabels'),
      Service: at(only(objects, 'Service'), 'spec', 'selector'),
      PodDisruptionBudget: at(only(objects, 'PodDisruptionBudget'), 'spec', 'selector', 'matchLabels'),
      NetworkPolicy: at(only(objects, 'NetworkPolicy'), 'spec', 'podSelector', 'matchLabels'),
    };
    for (const [kind, selector] of Object.entries(selectors)) {
      for (const [key, value] of Object.entries(selector as object)) assert.equal(labels[key], value, `${kind}: ${key}`);
    }
    const service = only(objects, 'Service').metadata.labels;
    const wanted = at(only(objects, 'ServiceMonitor'), 'spec', 'selector', 'matchLabels');
    for (const [key, value] of Object.entries(wanted as object)) assert.equal(service?.[key], value, `ServiceMonitor: ${key}`);
  });

  test('an existing key is used, and a made one is random and long', async () => {
    const objects = await render('tokenKey.existingSecret=my-key');
    assert.ok(!titles(objects).some((title) => title.startsWith('Secret')));
    assert.equal(at(only(objects, 'Deployment'), 'spec', 'template', 'spec', 'volumes', 0, 'secret', 'secretName'), 'my-key');
    const keys = [only(await render(), 'Secret'), only(await render(), 'Secret')].map((secret) => String(at(secret, 'data', 'key')));
    assert.notEqual(keys[0], keys[1]);
    for (const key of keys) assert.ok(Buffer.from(key, 'base64').length >= 32);
  });

  const refused: Readonly<Record<string, readonly [values: readonly string[], message: RegExp]>> = {
    'a name that is no value': [['replica=3'], /replica/u],
    'a nested name that is no value': [['metrics.serviceMonitor.intervall=10s'], /intervall/u],
    'an interval without unit': [['metrics.serviceMonitor.interval=30'], /interval/u],
    'a log level that does not exist': [['log.level=verbose'], /level/u],
    'a quantity that is none': [['resources.limits.memory=1GB'], /resources\/limits\/memory/u],
    'an empty quantity': [['resources.limits.cpu='], /resources\/limits\/cpu/u],
    'a digest that is none': [['image.digest=latest'], /digest/u],
    'a namespace that cannot be': [['scope.namespace=Pictures'], /namespace/u],
    'replicas without leader election': [['leaderElection.enabled=false'], /replicas above 1 need leaderElection/u],
    'a monitor without Service': [['metrics.serviceMonitor.enabled=true', 'metrics.service.enabled=false'], /needs metrics\.service/u],
    'labels by which selectors find its pods': [
      ['podLabels.app\\.kubernetes\\.io/instance=other'],
      /app\.kubernetes\.io\/instance: other can't be set: it is how selectors/u,
    ],
    'a repository with a digest in it': [['image.repository=registry.example.com/operator@sha256:00'], /repository/u],
    'a repository with a tag in it': [['image.repository=registry.example.com:5000/operator:1.2'], /repository/u],
    'a whole section taken away': [['metrics=null'], /missing property 'metrics'/u],
    'a key that no Secret can have': [['tokenKey.key=..'], /key/u],
    'a name no Service can have': [
      ['fullnameOverride=7days'],
      /"7days", since names of Services begin with a letter: set fullnameOverride/u,
    ],
    'a pull secret that is neither a name nor a map with one': [['imagePullSecrets[0].secret=registry'], /imagePullSecrets/u],
    'an argument that is no option': [['extraArgs[0]=qps=5'], /extraArgs/u],
    'no service account and none named': [['serviceAccount.create=false'], /serviceAccount\.name must say/u],
  };
  for (const [what, [values, message]] of Object.entries(refused)) {
    test(`refuses ${what}`, async () => {
      const { exitCode, stderr } = await tryTool('helm', command(values));
      assert.notEqual(exitCode, 0);
      assert.match(stderr, message);
    });
  }

  test('one replica without leader election is no rolling update, and needs no lease', async () => {
    const objects = await render('replicas=1', 'leaderElection.enabled=false');
    assert.equal(at(only(objects, 'Deployment'), 'spec', 'strategy', 'type'), 'Recreate');
    assert.ok(!args(objects).includes('--leader-elect'));
    assert.ok(!titles(objects).some((title) => /leader-election|PodDisruptionBudget/u.test(title)));
  });

  test('texts that look like numbers and truths stay texts', async () => {
    const set = [
      ...[
        'nameOverride=1e3',
        'scope.namespace=123',
        'serviceAccount.name=77',
        'imagePullSecrets[0]=5',
        'imagePullSecrets[1].name=registry',
      ],
      ...['priorityClassName=1', 'tokenKey.key=1', 'tokenKey.existingSecret=1', 'image.repository=1', 'image.tag=2', 'runtime.image=3'],
      ...['commonLabels.team=1', 'podLabels.tier=2', 'podAnnotations.sidecar=false', 'metrics.serviceMonitor.labels.release=1'],
    ];
    const values = [...set.flatMap((value) => ['--set-string', value]), ...everything.flatMap((value) => ['--set', value])];
    for (const release of ['true', 'null', 'v1e5']) {
      const text = await runTool('helm', ['template', release, chart, '--namespace', '123', '--kube-version', '1.34.0', ...values]);
      const objects = parseObjects(text);
      assert.deepEqual(objects.flatMap((object) => notTexts(object)).sort(), [], release);
      const pod = at(only(objects, 'Deployment'), 'spec', 'template', 'spec');
      assert.deepEqual(at(pod, 'imagePullSecrets'), [{ name: '5' }, { name: 'registry' }]);
      assert.equal(at(pod, 'containers', 0, 'image'), '1:2');
      assert.equal(at(only(objects, 'Deployment'), 'metadata', 'labels', 'app.kubernetes.io/instance'), release);
    }
  });

  test('a release may have dots in its name', async () => {
    const objects = parseObjects(await runTool('helm', ['template', 'my.release', chart, '--kube-version', '1.34.0']));
    assert.equal(only(objects, 'Service').metadata.name, 'my-release-sdxl-operator-metrics');
  });

  test('labels, options, variables and security contexts of the user arrive where they belong', async () => {
    const objects = await render(
      ...[...everything, 'commonLabels.team=pictures', 'podLabels.tier=back', 'metrics.serviceMonitor.labels.release=prometheus'],
      ...['extraArgs[0]=--metrics-bind-address=0', 'extraEnv[0].name=NODE_OPTIONS', 'extraEnv[0].value=--max-old-space-size=256'],
      ...['podSecurityContext.runAsUser=null', 'podSecurityContext.runAsGroup=null', 'podSecurityContext.fsGroup=null'],
      'topologySpreadConstraints[0].maxSkew=1',
    );
    for (const { kind, metadata } of objects) assert.equal(metadata.labels?.['team'], 'pictures', kind);
    assert.equal(only(objects, 'ServiceMonitor').metadata.labels?.['release'], 'prometheus');
    assert.equal(at(only(objects, 'Deployment'), 'spec', 'template', 'metadata', 'labels', 'tier'), 'back');
    assert.ok(args(objects).at(-1) === '--metrics-bind-address=0');
    const pod = at(only(objects, 'Deployment'), 'spec', 'template', 'spec');
    assert.deepEqual(at(pod, 'containers', 0, 'env', 1), { name: 'NODE_OPTIONS', value: '--max-old-space-size=256' });
    assert.deepEqual(at(pod, 'securityContext'), { runAsNonRoot: true, seccompProfile: { type: 'RuntimeDefault' } });
    assert.deepEqual(at(pod, 'topologySpreadConstraints'), [{ maxSkew: 1 }]);
    assert.deepEqual(restrictedViolations(pod), []);
  });

  test('a platform’s chart may hold it, and leave it out', async () => {
    await using workspace = await Workspace.open();
    const { version } = parse(await readFile(`${chart}/Chart.yaml`, 'utf8')) as { readonly version: string };
    const dependency = { name: 'sdxl-operator', version, condition: 'sdxl-operator.enabled' };
    await writeFile(
      workspace.file('Chart.yaml'),
      JSON.stringify({ apiVersion: 'v2', name: 'platform', version: '1.0.0', dependencies: [dependency] }),
    );
    await cp(chart, workspace.file('charts/sdxl-operator'), { recursive: true });
    const rendered = async (...values: readonly string[]): Promise<readonly string[]> => {
      const set = values.flatMap((value) => ['--set', value]);
      return titles(parseObjects(await runTool('helm', ['template', 'platform', workspace.path, '--kube-version', '1.34.0', ...set])));
    };
    const shown = await rendered('global.region=eu', 'sdxl-operator.enabled=true', 'sdxl-operator.replicas=3');
    assert.ok(shown.includes('Deployment default/platform-sdxl-operator'), shown.join('\n'));
    assert.deepEqual(await rendered('sdxl-operator.enabled=false'), []);
  });

  test('names stay within 63 characters', async () => {
    const long = 'a'.repeat(53);
    const output = await runTool('helm', ['template', long, chart, '--kube-version', '1.34.0']);
    for (const { kind, metadata } of parseObjects(output))
      assert.ok(metadata.name.length <= 63 || kind === 'CustomResourceDefinition', metadata.name);
  });

  test('every value of values.yaml stands in its schema', async () => {
    const values = parse(await readFile(`${chart}/values.yaml`, 'utf8')) as unknown;
    const schema = JSON.parse(await readFile(`${chart}/values.schema.json`, 'utf8')) as unknown;
    assert.deepEqual(missing(values, schema, ''), []);
  });
});

/** Where an object has something else than a text, though the API wants one. */
function notTexts(value: unknown, path = ''): readonly string[] {
  if (typeof value !== 'object' || value === null) {
    const wanted =
      /(?:\.(?:name|namespace|image|priorityClassName|serviceAccountName|secretName)|\.labels\..*|\.annotations\..*|\.matchLabels\..*|\.args\.\d+|\.matchNames\.\d+)$/u;
    return wanted.test(path) && typeof value !== 'string' ? [`${path}: ${String(value)}`] : [];
  }
  return Object.entries(value).flatMap(([key, inner]) => (key === 'openAPIV3Schema' ? [] : notTexts(inner, `${path}.${key}`)));
}

function args(objects: readonly KubernetesObject[]): readonly string[] {
  return at(only(objects, 'Deployment'), 'spec', 'template', 'spec', 'containers', 0, 'args') as readonly string[];
}

/** Known to the schema alone. */
const ofParents = ['global', 'enabled'];

/** Values that the schema does not describe, and the schema's that have no default; free-form maps are left alone. */
function missing(value: unknown, schema: unknown, path: string): readonly string[] {
  const properties = at(schema, 'properties');
  if (typeof properties !== 'object' || properties === null) return [];
  const inValues = Object.keys(value as object);
  const inSchema = Object.keys(properties).filter((name) => path !== '' || !ofParents.includes(name));
  return [
    ...inValues.filter((name) => !inSchema.includes(name)).map((name) => `${path}${name}: not in the schema`),
    ...inSchema.filter((name) => !inValues.includes(name)).map((name) => `${path}${name}: not in values.yaml`),
    ...inValues.flatMap((name) => missing(at(value, name), at(properties, name), `${path}${name}.`)),
  ];
}

suite('jobs with hashed names', { skip: skipWithout('helm') }, () => {
  const names = async (...set: readonly string[]): Promise<readonly string[]> => {
    const values = set.flatMap((value) => ['--set', value]);
    return parseObjects(await runTool('helm', ['template', 'pictures', 'manifests/gitops/hashed-names', ...values])).map(
      ({ metadata }) => metadata.name,
    );
  };

  test('have the same name as long as they make the same', async () => {
    const [name = ''] = await names();
    assert.match(name, /^flowers-rabbit-[0-9a-f]{8}$/u);
    assert.deepEqual(await names('jobs.flowers-rabbit.suspend=true', 'jobs.flowers-rabbit.ttlSecondsAfterFinished=60'), [name]);
    assert.notDeepEqual(await names('jobs.flowers-rabbit.prompt=flowers'), [name]);
    assert.notDeepEqual(await names('jobs.flowers-rabbit.pods.image=registry.example.com/runtime:1'), [name]);
  });
});
