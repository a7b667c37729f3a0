/** Alerts and dashboards: that rules fire when they should, that every query is one, and that what they name exists. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { parse, stringify } from 'yaml';
import { fillIn, readDashboards, type Panel } from '../support/dashboards.js';
import { runTool, skipWithout } from '../support/tools.js';

const monitoring = 'manifests/components/monitoring';
const dashboards = await readDashboards();

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

const rules = (
  parse(await readFile(`${monitoring}/alerts.yaml`, 'utf8')) as { groups: readonly { rules: readonly Rule[] }[] }
).groups.flatMap((group) => group.rules);
const queries = dashboards.flatMap(({ panels }) => panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)));

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
      const recorded = queries.map((expr, index) => ({ record: `query:${index}`, expr: fillIn(expr) }));
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

test('panels have a title, a description, a place of their own and queries', () => {
  for (const { file, panels } of dashboards) {
    assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length, `${file}: two panels have one number`);
    for (const panel of panels) {
      const where = `${file}: ${panel.title}`;
      assert.ok(panel.gridPos.x + panel.gridPos.w <= 24, `${where} is wider than the page`);
      for (const other of panels) assert.ok(other === panel || !overlaps(panel, other), `${where} lies on ${other.title}`);
      assert.notEqual(panel.title, '');
      if (panel.type === 'row') continue;
      assert.notEqual(panel.description ?? '', '', `${where} has no description`);
      assert.ok((panel.targets ?? []).length > 0, `${where} has no query`);
      // Without limits of its own a number turns red at 80.
      if (panel.type === 'stat') assert.equal(panel.fieldConfig?.defaults.thresholds?.steps[0]?.color, 'text', where);
    }
  }
});

function overlaps({ gridPos: one }: Panel, { gridPos: other }: Panel): boolean {
  return one.x < other.x + other.w && other.x < one.x + one.w && one.y < other.y + other.h && other.y < one.y + one.h;
}
