/** Alerts and dashboards: that rules fire when they should, that every query is one, and that what they name exists. */
import assert from 'node:assert/strict';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { parse, stringify } from 'yaml';
import { at } from '../support/manifests.js';
import { runTool, skipWithout } from '../support/tools.js';

const monitoring = 'manifests/components/monitoring';
const dashboards = 'manifests/components/dashboards';

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

interface Query {
  readonly where: string;
  readonly expr: string;
}

const rules = (
  parse(await readFile(`${monitoring}/alerts.yaml`, 'utf8')) as { groups: readonly { rules: readonly Rule[] }[] }
).groups.flatMap((group) => group.rules);
const queries = await dashboardQueries();

suite('promtool', { skip: skipWithout('promtool') }, () => {
  test('finds nothing wrong with the alerts', async () => {
    const output = await runTool('promtool', ['check', 'rules', '--lint=all', '--lint-fatal', `${monitoring}/alerts.yaml`]);
    assert.match(output, new RegExp(`${rules.length} rules found`, 'u'));
  });

  test('sees each alert fire when it should and only then', async () => {
    assert.match(await runTool('promtool', ['test', 'rules', `${monitoring}/alerts.test.yaml`]), /SUCCESS/u);
  });

  test('can parse every query of the dashboards', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'dashboards-'));
    try {
      const file = join(folder, 'rules.yaml');
      const recorded = queries.map(({ expr }, index) => ({ record: `query:${index}`, expr: withoutVariables(expr) }));
      await writeFile(file, stringify({ groups: [{ name: 'dashboards', rules: recorded }] }));
      assert.match(await runTool('promtool', ['check', 'rules', file]), new RegExp(`${queries.length} rules found`, 'u'));
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

test('every alert has a test that it fires and one that it does not', async () => {
  const { tests } = parse(await readFile(`${monitoring}/alerts.test.yaml`, 'utf8')) as {
    tests: readonly { alert_rule_test: readonly { alertname: string; exp_alerts?: readonly unknown[] }[] }[];
  };
  const cases = tests.flatMap(({ alert_rule_test }) => alert_rule_test);
  for (const { alert } of rules) {
    assert.ok(
      cases.some(({ alertname, exp_alerts = [] }) => alertname === alert && exp_alerts.length > 0),
      `${alert} never fires`,
    );
  }
});

test('every alert has a severity and says what to do', async () => {
  const page = await readFile('docs/monitoring.md', 'utf8');
  for (const { alert, labels, annotations } of rules) {
    assert.match(labels['severity'] ?? '', /^(?:critical|warning)$/u, alert);
    for (const name of ['summary', 'description']) assert.notEqual(annotations[name] ?? '', '', `${alert}: ${name}`);
    assert.equal(annotations['runbook'], `docs/monitoring.md#${alert.toLowerCase()}`);
    assert.match(page, new RegExp(`^### ${alert}$`, 'mu'), `docs/monitoring.md has no section ${alert}`);
  }
});

test('panels have a title, a description, a place of their own and queries', async () => {
  for (const file of await dashboardFiles()) {
    const dashboard = JSON.parse(await readFile(file, 'utf8')) as { uid: string; panels: readonly unknown[] };
    const places = new Set<string>();
    const ids = new Set<unknown>();
    for (const panel of dashboard.panels) {
      ids.add(at(panel, 'id'));
      const { x, y, w } = at(panel, 'gridPos') as { x: number; y: number; w: number };
      assert.ok(x + w <= 24, `${file}: ${String(at(panel, 'title'))} is wider than the page`);
      places.add(`${x} ${y}`);
      if (at(panel, 'type') === 'row') continue;
      for (const field of ['title', 'description']) assert.notEqual(at(panel, field) ?? '', '', `${file}: a panel has no ${field}`);
      assert.ok((at(panel, 'targets') as readonly unknown[]).length > 0, `${file}: ${String(at(panel, 'title'))} has no query`);
    }
    assert.equal(ids.size, dashboard.panels.length, `${file}: two panels have one number`);
    assert.equal(places.size, dashboard.panels.length, `${file}: two panels are in one place`);
  }
});

async function dashboardFiles(): Promise<readonly string[]> {
  return (await readdir(dashboards)).filter((name) => name.endsWith('.json')).map((name) => join(dashboards, name));
}

async function dashboardQueries(): Promise<readonly Query[]> {
  const found: Query[] = [];
  for (const file of await dashboardFiles()) {
    const { panels } = JSON.parse(await readFile(file, 'utf8')) as { panels: readonly unknown[] };
    for (const panel of panels) {
      const targets = (at(panel, 'targets') ?? []) as readonly { expr: string }[];
      for (const { expr } of targets) found.push({ where: `${file}: ${String(at(panel, 'title'))}`, expr });
    }
  }
  return found;
}

/** A query as Grafana sends it. */
function withoutVariables(expr: string): string {
  return expr.replaceAll('$__rate_interval', '5m').replaceAll('$__range', '1h').replaceAll(/\$\w+/gu, '.*');
}
