/** What is shipped, taken by a real API server from kubectl and helm, strictly: unknown fields are errors. */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, suite, test } from 'node:test';
import { stringify } from 'yaml';
import { promisedRights } from '../support/contract.js';
import { clusterSuite } from '../support/cluster/index.js';
import { Administrator } from '../support/kubectl.js';
import { at } from '../support/manifests.js';
import { skipWithout } from '../support/tools.js';

const { skip: noCluster, cluster } = clusterSuite({ parts: 'api-server' });
const skip = noCluster === false ? skipWithout('helm') : noCluster;
const chart = 'charts/sdxl-operator';
const crd = 'sdxljobs.sdxl.io';

/** Values whose YAML is easily something else than what was meant. */
const unusual: Readonly<Record<string, readonly string[]>> = {
  'names of digits': [
    'fullnameOverride=x1',
    'nameOverride=1e3',
    'serviceAccount.name=77',
    'imagePullSecrets[0]=5',
    'scope.namespace=default',
  ],
  'images and keys of digits': ['fullnameOverride=x2', 'image.repository=1', 'image.tag=2', 'tokenKey.key=1', 'priorityClassName=1'],
  'labels and annotations of truths and numbers': [
    ...['fullnameOverride=x3', 'commonLabels.team=1', 'podLabels.tier=true', 'podAnnotations.sidecar=false', 'nodeSelector.gpu=false'],
    ...['serviceAccount.annotations.role=1', 'metrics.service.annotations.scrape=true'],
  ],
  "a user's own options and places": [
    ...['fullnameOverride=x4', 'extraArgs[0]=--qps=5', 'extraEnv[0].name=NODE_OPTIONS', 'extraEnv[0].value=1', 'tolerations[0].key=gpu'],
  ],
};

suite('on an API server', { skip }, () => {
  let admin: Administrator;
  const json = async (...args: readonly string[]): Promise<unknown> => JSON.parse(await admin.kubectl(...args, '-o', 'json')) as unknown;

  before(async () => {
    admin = await Administrator.of(cluster());
    // No controller runs here that would make it, and pods are refused without one.
    await admin.kubectl('create', 'serviceaccount', 'default');
  });

  test('the chart installs, keeps its key over an upgrade, and leaves the CRD behind', async () => {
    await admin.kubectl('create', 'namespace', 'sdxl-system');
    await admin.kubectl('label', 'namespace', 'sdxl-system', 'pod-security.kubernetes.io/enforce=restricted');
    const release = ['sdxl-operator', chart, '--namespace', 'sdxl-system'];
    await admin.helm('install', ...release);
    await admin.kubectl('wait', '--for=condition=Established', `crd/${crd}`, '--timeout=30s');
    const key = async (): Promise<unknown> =>
      at(await json('-n', 'sdxl-system', 'get', 'secret', 'sdxl-operator-token-key'), 'data', 'key');
    const first = await key();
    await admin.helm('upgrade', ...release, '--set', 'replicas=3');
    assert.equal(await key(), first);
    assert.equal(at(await json('-n', 'sdxl-system', 'get', 'deployment', 'sdxl-operator'), 'spec', 'replicas'), 3);
  });

  test('a second release cares for one namespace, and the first is rolled back meanwhile', async () => {
    for (const namespace of ['pictures', 'pictures-system']) await admin.kubectl('create', 'namespace', namespace);
    const settings = ['--set', 'scope.namespace=pictures', '--set', 'crds.install=false'];
    // In one namespace they would share a Lease, and the second would wait for ever.
    await assert.rejects(admin.helm('install', 'pictures', chart, '--namespace', 'sdxl-system', ...settings), (error: Error) => {
      assert.match(error.message, /release sdxl-operator is in namespace sdxl-system already.*install this one in a namespace of its own/u);
      return true;
    });
    await admin.helm('install', 'pictures', chart, '--namespace', 'pictures-system', ...settings);
    const account = 'system:serviceaccount:pictures-system:pictures-sdxl-operator';
    const may = async (namespace: string): Promise<string> =>
      (await admin.tryKubectl('auth', 'can-i', 'create', 'jobs.batch', '-n', namespace, `--as=${account}`)).stdout.trim();
    assert.deepEqual([await may('pictures'), await may('default')], ['yes', 'no']);
    await admin.helm('rollback', 'sdxl-operator', '1', '--namespace', 'sdxl-system');
    assert.equal(at(await json('-n', 'sdxl-system', 'get', 'deployment', 'sdxl-operator'), 'spec', 'replicas'), 2);
    // Roles that let users make jobs are the whole cluster's, and each release has its own.
    await admin.helm('uninstall', 'pictures', '--namespace', 'pictures-system');
    assert.match(await admin.kubectl('get', 'clusterroles', '-o', 'name'), /\/sdxl-operator-edit$/mu);
    await admin.kubectl('get', 'crd', crd);
  });

  for (const [what, values] of Object.entries(unusual)) {
    test(`the chart is taken with ${what}`, async () => {
      const set = values.flatMap((value) => ['--set-string', value]);
      const rendered = await admin.helm(
        'template',
        '1e5',
        chart,
        '--namespace',
        'sdxl-system',
        '--kube-version',
        '1.34.0',
        '--set',
        'crds.install=false',
        ...set,
      );

      await withText(rendered, async (file) => {
        await admin.kubectl('apply', '--dry-run=server', '--validate=strict', '-f', file);
      });
    });
  }

  test('a pod of the chart is admitted where Pod Security "restricted" is enforced', async () => {
    const template = at(await json('-n', 'sdxl-system', 'get', 'deployment', 'sdxl-operator'), 'spec', 'template');
    const pod = { apiVersion: 'v1', kind: 'Pod', metadata: { name: 'operator' }, spec: at(template, 'spec') };
    await withFile(pod, async (file) => {
      await admin.kubectl('-n', 'sdxl-system', 'create', '--dry-run=server', '-f', file);
    });
    // The namespace does refuse what it should.
    const root = { ...pod, spec: { ...(pod.spec as object), hostNetwork: true } };
    await withFile(root, async (file) => {
      const { exitCode, stderr } = await admin.tryKubectl('-n', 'sdxl-system', 'create', '--dry-run=server', '-f', file);
      assert.notEqual(exitCode, 0);
      assert.match(stderr, /violates PodSecurity "restricted/u);
    });
  });

  test('the operator may do what its contract says and not read Secrets', async () => {
    const account = 'system:serviceaccount:sdxl-system:sdxl-operator';
    const may = async (verb: string, resource: string, namespace: string, subresource?: string): Promise<boolean> => {
      const further = subresource === undefined ? [] : [`--subresource=${subresource}`];
      const { stdout } = await admin.tryKubectl('auth', 'can-i', verb, resource, '-n', namespace, `--as=${account}`, ...further);
      return stdout.trim() === 'yes';
    };
    for (const { group, resource, verb } of await promisedRights()) {
      // kubectl asks the server which group a name is of, and these are of controllers that aren't installed.
      if (resource === 'podgroups') continue;
      const [name = '', subresource] = resource.split('/');
      const qualified = [name, ...(group === '' ? [] : [group])].join('.');
      assert.ok(await may(verb, qualified, 'default', subresource), `${verb} ${resource}`);
    }
    for (const verb of ['get', 'list', 'watch', 'update']) assert.ok(!(await may(verb, 'secrets', 'sdxl-system')), verb);
    assert.ok(await may('update', 'leases.coordination.k8s.io/sdxl-operator', 'sdxl-system'));
    assert.ok(!(await may('update', 'leases.coordination.k8s.io/other', 'sdxl-system')));
    assert.ok(!(await may('create', 'leases.coordination.k8s.io', 'default')));
    assert.ok(!(await may('create', 'pods', 'default')));
  });

  for (const file of readSamples()) {
    test(`${file} is taken`, async () => {
      await admin.kubectl('apply', '--dry-run=server', '--validate=strict', '-f', file);
    });
  }

  suite('a changed prompt', () => {
    const job = (name: string, prompt: string): object => ({
      apiVersion: 'sdxl.io/v1alpha1',
      kind: 'SdxlJob',
      metadata: { name, labels: { 'app.kubernetes.io/part-of': 'pictures' } },
      spec: { model: { path: 'models/tiny-sdxl' }, prompt, height: 64, width: 64 },
    });
    const jobs = async (): Promise<readonly string[]> => {
      const list = at(await json('get', 'sdxljobs'), 'items') as readonly unknown[];
      return list.map((item) => `${String(at(item, 'metadata', 'name'))}: ${String(at(item, 'spec', 'prompt'))}`);
    };

    test('under the same name is refused, and the message says what to do', async () => {
      await withFile(job('cat', 'a cat'), (file) => admin.kubectl('apply', '--server-side', '-f', file));
      await withFile(job('cat', 'a dog'), async (file) => {
        const { exitCode, stderr } = await admin.tryKubectl('apply', '--server-side', '-f', file);
        assert.notEqual(exitCode, 0);
        assert.match(stderr, /spec is immutable .* create a job with another name, or delete this one first/u);
      });
      assert.deepEqual(await jobs(), ['cat: a cat']);
    });

    test('replaces the job where it is replaced by force', async () => {
      const before = at(await json('get', 'sdxljob', 'cat'), 'metadata', 'uid');
      await withFile(job('cat', 'a dog'), (file) => admin.kubectl('replace', '--force', '-f', file));
      assert.deepEqual(await jobs(), ['cat: a dog']);
      assert.notEqual(at(await json('get', 'sdxljob', 'cat'), 'metadata', 'uid'), before);
      await admin.kubectl('delete', 'sdxljob', 'cat');
    });

    test('under a name with another suffix takes the place of the old one by pruning', async () => {
      const apply = async (directory: string): Promise<void> => {
        const prune = ['--prune', '-l', 'app.kubernetes.io/part-of=pictures', '--prune-allowlist=sdxl.io/v1alpha1/SdxlJob'];
        await admin.kubectl('apply', '-n', 'default', '-k', directory, ...prune);
      };
      const folder = await mkdtemp(join(tmpdir(), 'pictures-'));
      const write = async (suffix: string, prompt: string): Promise<void> => {
        await writeFile(join(folder, 'cat.yaml'), stringify(job('cat', prompt)));
        await writeFile(join(folder, 'kustomization.yaml'), stringify({ nameSuffix: suffix, resources: ['cat.yaml'] }));
      };
      try {
        await write('-1', 'a cat');
        await apply(folder);
        await write('-2', 'a dog');
        await apply(folder);
        assert.deepEqual(await jobs(), ['cat-2: a dog']);
      } finally {
        await rm(folder, { recursive: true });
        await admin.kubectl('delete', 'sdxljobs', '--all');
      }
    });

    test('under a hashed name takes the place of the old one by an upgrade of a release', async () => {
      const release = ['pictures', 'manifests/gitops/hashed-names', '--namespace', 'default'];
      await admin.helm('install', ...release);
      const [first = ''] = await jobs();
      assert.match(first, /^flowers-rabbit-[0-9a-f]{8}: flowers, rabbit$/u);
      await admin.helm('upgrade', ...release, '--set', 'jobs.flowers-rabbit.suspend=true');
      assert.deepEqual(await jobs(), [first]);
      await admin.helm('upgrade', ...release, '--set', 'jobs.flowers-rabbit.prompt=a dog');
      const [second = '', ...others] = await jobs();
      assert.deepEqual(others, []);
      assert.match(second, /^flowers-rabbit-[0-9a-f]{8}: a dog$/u);
      await admin.helm('uninstall', 'pictures', '--namespace', 'default');
      assert.deepEqual(await jobs(), []);
    });

    test('is not needed to suspend and resume', async () => {
      await withFile(job('cat', 'a cat'), (file) => admin.kubectl('apply', '-f', file));
      await admin.kubectl('patch', 'sdxljob', 'cat', '--type', 'merge', '-p', '{"spec":{"suspend":true}}');
      await admin.kubectl('patch', 'sdxljob', 'cat', '--type', 'merge', '-p', '{"spec":{"suspend":false}}');
      await admin.kubectl('delete', 'sdxljob', 'cat');
    });
  });

  test('uninstalling leaves the CRD and its jobs', async () => {
    await admin.kubectl('apply', '-f', 'manifests/samples/sdxljob.yaml');
    await admin.helm('uninstall', 'sdxl-operator', '--namespace', 'sdxl-system');
    assert.match(await admin.kubectl('get', 'sdxljobs'), /flowers-rabbit/u);
    assert.equal(await admin.kubectl('-n', 'sdxl-system', 'get', 'deployments,roles,secrets', '-o', 'name'), '');
  });

  for (const overlay of ['cluster-wide', 'namespaced', 'demo']) {
    test(`the overlay ${overlay} is taken by kubectl, a second time without a change`, async () => {
      const { namespace } = overlays[overlay] ?? { namespace: 'default' };
      const { exitCode } = await admin.tryKubectl('get', 'namespace', namespace);
      if (exitCode !== 0) await admin.kubectl('create', 'namespace', namespace);
      const apply = (): Promise<string> =>
        admin.kubectl('apply', '--server-side', '--force-conflicts', '--validate=strict', '-k', `manifests/overlays/${overlay}`);
      await apply();
      const objects = ['deployments,roles,rolebindings,services,serviceaccounts,networkpolicies', '-n', namespace, '-o', 'yaml'];
      const once = await admin.kubectl('get', ...objects);
      await apply();
      assert.equal(await admin.kubectl('get', ...objects), once);
    });
  }
});

/** Writes an object to a file for as long as it is used. */
async function withFile(object: object, use: (file: string) => Promise<unknown>): Promise<void> {
  await withText(stringify(object), use);
}

async function withText(text: string, use: (file: string) => Promise<unknown>): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'object-'));
  try {
    const file = join(folder, 'object.yaml');
    await writeFile(file, text);
    await use(file);
  } finally {
    await rm(folder, { recursive: true });
  }
}

function readSamples(): readonly string[] {
  return readdirSync('manifests/samples', { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.yaml'))
    .map((name) => join('manifests/samples', name));
}

const overlays: Readonly<Record<string, { readonly namespace: string }>> = {
  'cluster-wide': { namespace: 'sdxl-system' },
  namespaced: { namespace: 'sdxl' },
  demo: { namespace: 'sdxl-demo' },
};
