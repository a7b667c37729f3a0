/** Chart, manifests, alerts and dashboards name what the operator's contract promises, no less and no more. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { errorCatalogue } from '../../runtime/errors/index.js';
import { promisedMetrics, promisedOptions, promisedRights } from '../support/contract.js';
import { at } from '../support/manifests.js';

test('the role has the rights of docs/operator.md', async () => {
  const role = parse(await readFile('manifests/overlays/cluster-wide/cluster-role.yaml', 'utf8')) as {
    rules: readonly { apiGroups: readonly string[]; resources: readonly string[]; verbs: readonly string[] }[];
  };
  const given = role.rules.flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) => resources.flatMap((resource) => verbs.map((verb) => ({ group, resource, verb })))),
  );
  const text = (rights: readonly { group: string; resource: string; verb: string }[]): readonly string[] =>
    rights.map(({ group, resource, verb }) => `${verb} ${resource}.${group}`).sort();
  assert.deepEqual(text(given), text(await promisedRights()));
});

test('options that the chart and the manifests give are options of the operator', async () => {
  const promised = await promisedOptions();
  const files = [
    'charts/sdxl-operator/templates/deployment.yaml',
    ...(await yamlFiles('manifests/base')),
    ...(await yamlFiles('manifests/overlays')),
  ];
  const given = new Set<string>();
  for (const file of files) {
    for (const [, option = ''] of (await readFile(file, 'utf8')).matchAll(/^\s+(?:- |value: )(?:\{\{ printf ")?(--[-a-z]+)/gmu))
      given.add(option);
  }
  assert.ok(given.size >= 8, [...given].join(' '));
  assert.deepEqual(
    [...given].filter((option) => !promised.includes(option)),
    [],
  );
});

test('alerts and dashboards name metrics and labels that exist', async () => {
  const promised = await promisedMetrics();
  assert.deepEqual(promised.get('sdxl_jobs_finished_total'), ['namespace', 'result']);
  assert.deepEqual(promised.get('sdxl_job_condition'), ['namespace', 'job', 'type']);
  assert.deepEqual(promised.get('sdxl_collective_bytes_total'), ['job', 'rank', 'operation', 'direction']);
  for (const expr of await expressions()) {
    for (const [, name = '', selector = ''] of expr.matchAll(/\b(sdxl_\w+)(?:\{([^}]*)\})?/gu)) {
      const base = name.replace(/_(?:bucket|sum|count)$/u, '');
      const labels = promised.get(name) ?? promised.get(base);
      assert.ok(labels !== undefined, `${name} does not exist: ${expr}`);
      for (const [, label = ''] of selector.matchAll(/(\w+)\s*[=!]/gu)) {
        assert.ok([...labels, 'namespace', 'pod'].includes(label), `${name} has no label ${label}`);
      }
    }
  }
});

/** Codes of the command line alone, and of what was asked to end. */
const noReasons = ['USAGE', 'IMAGE_DIFFERS', 'CANCELLED'];

test('docs/troubleshooting.md has every reason that a rank can give for its end', async () => {
  const told = new Set((await readFile('docs/troubleshooting.md', 'utf8')).match(/(?<=`)[A-Z]\w+(?=`)/gu));
  const reasons = Object.keys(errorCatalogue)
    .filter((code) => !noReasons.includes(code))
    .map((code) => code.toLowerCase().replaceAll(/(?:^|_)([a-z])/gu, (_, letter: string) => letter.toUpperCase()));
  assert.deepEqual(
    reasons.filter((reason) => !told.has(reason)),
    [],
  );
});

async function expressions(): Promise<readonly string[]> {
  const alerts = parse(await readFile('manifests/components/monitoring/alerts.yaml', 'utf8')) as {
    groups: readonly { rules: readonly { expr: string }[] }[];
  };
  const found = alerts.groups.flatMap(({ rules }) => rules.map(({ expr }) => expr));
  const folder = 'manifests/components/dashboards';
  for (const name of (await readdir(folder)).filter((entry) => entry.endsWith('.json'))) {
    const { panels } = JSON.parse(await readFile(join(folder, name), 'utf8')) as { panels: readonly unknown[] };
    for (const panel of panels) for (const target of (at(panel, 'targets') ?? []) as readonly { expr: string }[]) found.push(target.expr);
  }
  assert.ok(found.length > 40);
  return found;
}

async function yamlFiles(folder: string): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true });
  return entries.filter((entry) => entry.endsWith('.yaml')).map((entry) => join(folder, entry));
}
