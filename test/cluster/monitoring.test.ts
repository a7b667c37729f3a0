/**
 * What a Prometheus makes of the operator and its ranks: the chart's monitors lead it to them, every panel of the dashboards shows what happened to a
 * handful of jobs, and those alerts fire that should.
 */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, suite, test } from 'node:test';
import { parse } from 'yaml';
import { clusterSuite, waitFor } from '../support/cluster/index.js';
import { fillIn, readDashboards, type Target } from '../support/dashboards.js';
import { Discovery } from '../support/discovery.js';
import { Administrator } from '../support/kubectl.js';
import { at, only, parseObjects } from '../support/manifests.js';
import { Prometheus, type Series } from '../support/prometheus.js';
import { scrapeConfigs } from '../support/scrape-config.js';
import { openClient } from '../support/sdxl-crd.js';
import { sdxlImages } from '../support/sdxl-images.js';
import { SdxlJobs } from '../support/sdxl-jobs.js';
import { runTool, skipWithout } from '../support/tools.js';

const { skip: noCluster, cluster } = clusterSuite({ nodes: [{ images: sdxlImages }] });
const skip = noCluster === false ? skipWithout('helm', 'prometheus') : noCluster;
const release = ['sdxl-operator', 'charts/sdxl-operator', '--namespace', 'sdxl-system'];
const monitors = ['serviceMonitor', 'podMonitor', 'prometheusRule'].flatMap((name) => ['--set', `metrics.${name}.enabled=true`]);

const panels = (await readDashboards()).flatMap(({ title, panels: all }) =>
  all.filter(({ type }) => type !== 'row').map((panel) => ({ ...panel, where: `${title}: ${panel.title}` })),
);
/** API servers end a watch after minutes, so that none may have been started again. */
const mayBeEmpty = ['SDXL operator: Watches started again'];

/** What a value may be, by its unit. Ranks report once a second, so that rates of few samples err by a quarter. */
const sane: Readonly<Record<string, readonly [least: number, most: number]>> = {
  short: [0, 1000],
  percentunit: [0, 1.25],
  // A scrape counts from when it began: what happens until it is answered is in its future.
  s: [-5, 600],
  ops: [0, 200],
  reqps: [0, 200],
  Bps: [0, 1e9],
  bytes: [30e6, 384e6],
};

const size = { height: 128, width: 128, numInferenceSteps: 8, parallelism: { patchDegree: 2 }, failurePolicy: { backoffSeconds: 0 } };

suite('monitoring', { skip }, () => {
  let discovery: Discovery;
  let prometheus: Prometheus;
  /** One without the Prometheus operator. */
  let plain: Prometheus;
  let jobs: SdxlJobs;
  const startedAt = Date.now() / 1000;

  before(async () => {
    const admin = await Administrator.of(cluster());
    await admin.kubectl('create', 'namespace', 'sdxl-system');
    await admin.helm('install', ...release);
    const args = ['template', ...release, '--kube-version', '1.34.0', ...monitors, '--show-only', 'templates/metrics.yaml'];
    const rendered = parseObjects(await runTool('helm', args));
    discovery = await Discovery.start(cluster(), cluster().directory);
    const scrape_configs = ['ServiceMonitor', 'PodMonitor'].flatMap((kind) => scrapeConfigs(only(rendered, kind), discovery.files, '1s'));
    const rules = at(only(rendered, 'PrometheusRule'), 'spec') as object;
    const config = { global: { evaluation_interval: '1s' }, scrape_configs };
    prometheus = await Prometheus.start(join(cluster().directory, 'prometheus'), config, { 'rules.yaml': rules });
    plain = await Prometheus.start(join(cluster().directory, 'plain'), await plainConfig(discovery.files.pod), {});
    await admin.kubectl('-n', 'sdxl-system', 'rollout', 'status', 'deployment/sdxl-operator', '--timeout=120s');
    jobs = new SdxlJobs(cluster(), await openClient(cluster()));
    await jobs.create('suspended', { ...size, suspend: true });
    await waitFor('scrape of the first job', async () => (await prometheus.query('sdxl_job_info')).at(0));
    await jobs.create('restarted', { ...size, numImages: 2 });
    await jobs.create('failing', { ...size, model: { path: 'models/none' } });
    await jobs.create('waiting', { ...size, pods: { nodeSelector: { nowhere: 'yes' } } });
    await disturb('restarted');
    await jobs.create('running', { ...size, numImages: 1000 });
    await jobs.completed('restarted');
    await jobs.ended('failing');
  });
  after(async () => {
    await prometheus[Symbol.asyncDispose]();
    await plain[Symbol.asyncDispose]();
    await discovery[Symbol.asyncDispose]();
  });

  /** A rank dies, and in the next attempt the node takes the pod away. */
  async function disturb(job: string): Promise<void> {
    const first = await jobs.pod(job, 1, 0, 'start', ({ status }) => status?.phase === 'Running');
    const { ranks } = await jobs.processes(first, 2);
    process.kill(ranks[1] ?? 0, 'SIGKILL');
    const second = await jobs.pod(job, 2, 0, 'start', ({ status }) => status?.phase === 'Running');
    await jobs.nodeOf(second).evict({ namespace: 'default', name: second.metadata?.name ?? '' });
  }

  /** The course of a panel's query since the test began, without the gaps that a division by zero makes. */
  async function course({ expr }: Target, rateInterval = '5s'): Promise<readonly Series[]> {
    const series = await prometheus.queryRange(fillIn(expr, { rateInterval, range: '10m' }), startedAt, Date.now() / 1000, 1);
    return series
      .map(({ metric, values }) => ({ metric, values: values.filter(([, value]) => !Number.isNaN(value)) }))
      .filter(({ values }) => values.length > 0);
  }

  /** The latest value of each series of a panel, by its legend. */
  async function latest(where: string): Promise<ReadonlyMap<string, number>> {
    const found = new Map<string, number>();
    const panel = panels.find((each) => each.where === where);
    assert.ok(panel !== undefined, where);
    for (const target of panel.targets ?? []) {
      for (const { metric, values } of await course(target)) found.set(legend(target, metric), values.at(-1)?.[1] ?? Number.NaN);
    }
    return found;
  }

  test('the monitors lead to every replica and to the pods of ranks, and series have the labels of their jobs', async () => {
    const operators = await prometheus.query('up{job="sdxl-operator-metrics", namespace="sdxl-system", container="operator"} == 1');
    assert.equal(operators.length, 2);
    const ranks = await waitFor('scrape of ranks', async () => {
      const found = await prometheus.query('sdxl_progress_ratio{job="running"}');
      return found.length > 0 ? found : undefined;
    });
    assert.deepEqual(ranks.map(({ metric }) => metric['rank']).sort(), ['0', '1']);
    for (const { metric } of ranks) {
      assert.deepEqual([metric['namespace'], metric['container']], ['default', 'ranks']);
      assert.match(metric['pod'] ?? '', /^running-1-0-/u);
    }
    await waitFor('five jobs as two replicas tell of them', async () => {
      assert.equal((await prometheus.query('sdxl_job_info{namespace="default"}')).length, 10);
      return true;
    });
  });

  test('a Prometheus without the Prometheus operator finds the same', async () => {
    const found = async (server: Prometheus, metric: string): Promise<readonly string[]> =>
      (await server.query(`sum by (namespace, pod, job) (${metric})`)).map(
        ({ metric: { namespace = '', pod = '', job = '' } }) => `${namespace}/${pod} ${job}`,
      );
    for (const metric of ['sdxl_operator_build_info', 'sdxl_progress_ratio{job="running"}']) {
      await waitFor(`the same series of ${metric}`, async () => {
        const of = (names: readonly string[]): readonly string[] =>
          names.map((name) => name.replace('sdxl-operator-metrics', 'sdxl-operator')).sort();
        const expected = of(await found(prometheus, metric));
        assert.ok(expected.length > 0);
        assert.deepEqual(of(await found(plain, metric)), expected);
        return true;
      });
    }
  });

  test('every panel has data, with values its unit allows and the labels its legend names', async () => {
    await waitFor('data of every panel', async () => {
      const empty: string[] = [];
      for (const { where, targets = [] } of panels) {
        const counts = await Promise.all(targets.map(async (target) => (await course(target)).length));
        if (counts.includes(0) && !mayBeEmpty.includes(where)) empty.push(where);
      }
      assert.deepEqual(empty, []);
      return true;
    });
    for (const { where, fieldConfig, targets = [], type } of panels) {
      const [least, most] = type === 'table' ? [0, Infinity] : (sane[fieldConfig?.defaults.unit ?? ''] ?? [0, 0]);
      for (const target of targets) {
        // Over five seconds of a busy machine a rank may tell of more than it has done in them.
        for (const { metric, values } of await course(target, '1m')) {
          for (const [, value] of values)
            assert.ok(value >= least && value <= most, `${where}: ${String(value)} of ${JSON.stringify(metric)}`);
          legend(target, metric);
        }
      }
    }
  });

  test('panels of one number and the table say what became of the jobs', async () => {
    // Scrapes may be behind, and the queue is empty only now and then.
    await waitFor('what became of the jobs', async () => {
      const numbers: Record<string, number> = {};
      for (const { where, type } of panels) if (type === 'stat') numbers[where] = Math.round([...(await latest(where)).values()][0] ?? -1);
      const { 'SDXL operator: Errors': errors, 'SDXL operator: Oldest watch': silence, ...exact } = numbers;
      assert.deepEqual(exact, {
        'SDXL jobs: Running': 1,
        'SDXL jobs: Waiting': 1,
        'SDXL jobs: Suspended': 1,
        'SDXL jobs: Complete': 1,
        'SDXL jobs: Failed': 1,
        'SDXL jobs: Images': 2,
        'SDXL operator: Active': 1,
        'SDXL operator: Replicas': 2,
        'SDXL operator: Jobs': 5,
        'SDXL operator: Queue': 0,
      });
      assert.ok(errors !== undefined && silence !== undefined);
      const [, states] = panels.find(({ type }) => type === 'table')?.targets ?? [];
      assert.ok(states !== undefined);
      const byJob = (await course(states)).map(({ metric, values }) => [metric['job'], values.at(-1)?.[1]]);
      assert.deepEqual(Object.fromEntries(byJob), { failing: 8, restarted: 4, running: 1, suspended: 2, waiting: 0 });
      return true;
    });
  });

  test('the first of each kind is seen as an increase', async () => {
    for (const [where, legends] of [
      ['SDXL jobs: Finished', ['complete', 'failed']],
      ['SDXL jobs: Restarts', ['disruption', 'failure']],
    ] as const) {
      const panel = panels.find((each) => each.where === where);
      const [target] = panel?.targets ?? [];
      assert.ok(target !== undefined);
      await waitFor(where, async () => {
        // On a busy machine scrapes may be further apart than five seconds.
        const grown = (await course(target, '1m')).filter(({ values }) => values.some(([, value]) => value > 0.5));
        assert.deepEqual(grown.map(({ metric }) => legend(target, metric)).sort(), legends);
        return true;
      });
    }
  });

  test('the rules are taken, have series to judge, and fire for what is wrong', async () => {
    // The last of the jobs may not have been judged yet.
    await waitFor('rules that fire', async () => {
      const rules = await prometheus.rules();
      assert.equal(rules.length, 9);
      for (const { name, query, health, lastError } of rules) {
        assert.equal(health, 'ok', `${name}: ${lastError ?? ''}`);
        for (const [selector] of query.matchAll(/\bsdxl_\w+(?:\{[^}]*\})?/gu)) {
          assert.ok((await prometheus.query(`count_over_time(${selector}[10m])`)).length > 0, `${name}: no series ${selector}`);
        }
      }
      const alerts = rules.flatMap(({ alerts: all }) =>
        all.map(({ state, labels }) => `${labels['alertname'] ?? ''} ${labels['job'] ?? ''} ${state}`),
      );
      // On a busy machine calls may fail for a while: alerts of the operator may be pending.
      const expected = ['SdxlGangNotReady waiting pending', 'SdxlJobFailed failing firing'];
      assert.deepEqual(alerts.filter((alert) => !/^SdxlOperator.* pending$/u.test(alert)).sort(), expected);
      return true;
    });
  });
});

/** The scrape configurations that are shipped for it, with targets from a file. */
async function plainConfig(targets: string): Promise<object> {
  const { scrape_configs } = parse(await readFile('manifests/components/monitoring/scrape-configs.yaml', 'utf8')) as {
    readonly scrape_configs: readonly Readonly<Record<string, unknown>>[];
  };
  return {
    scrape_configs: scrape_configs.map(({ kubernetes_sd_configs, ...rest }) => {
      assert.deepEqual(kubernetes_sd_configs, [{ role: 'pod' }]);
      return { ...rest, scrape_interval: '1s', scrape_timeout: '1s', file_sd_configs: [{ files: [targets] }] };
    }),
  };
}

/** A series' name as Grafana writes it, every label of which must be there. */
function legend({ legendFormat = '', expr }: Target, metric: Series['metric']): string {
  return legendFormat.replaceAll(/\{\{(\w+)\}\}/gu, (_, label: string) => {
    assert.notEqual(metric[label] ?? '', '', `no label ${label} in ${JSON.stringify(metric)} of ${expr}`);
    return metric[label] ?? '';
  });
}
