/** A Prometheus that scrapes a pod whose program tells of others: its series are its own job's, and none but those of ranks. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { suite, test } from 'node:test';
import { parse } from 'yaml';
import { waitFor } from '../support/cluster/index.js';
import { promisedMetrics } from '../support/contract.js';
import { only, parseObjects } from '../support/manifests.js';
import { Prometheus } from '../support/prometheus.js';
import { scrapeConfigs } from '../support/scrape-config.js';
import { Workspace } from '../support/sdxl.js';
import { runTool, skipWithout } from '../support/tools.js';

const ofOthers = 'namespace="theirs",job="theirs",pod="theirs"';
const said = [
  `sdxl_progress_ratio{${ofOthers},rank="0"} 1`,
  'sdxl_operator_is_leader 2',
  `sdxl_job_condition{${ofOthers},type="Failed"} 1`,
  `kube_pod_info{${ofOthers}} 1`,
];

/** As service discovery labels a pod of the job `own`. */
const pod = {
  __meta_kubernetes_namespace: 'team',
  __meta_kubernetes_pod_name: 'own-1-0-abcde',
  __meta_kubernetes_pod_container_name: 'ranks',
  __meta_kubernetes_pod_container_port_name: 'metrics',
  __meta_kubernetes_pod_label_app_kubernetes_io_managed_by: 'sdxl-operator',
  __meta_kubernetes_pod_label_app_kubernetes_io_component: 'rank',
  __meta_kubernetes_pod_label_sdxl_io_job_name: 'own',
};

async function ofChart(file: string): Promise<readonly object[]> {
  const args = ['template', 'x', 'charts/sdxl-operator', '--kube-version', '1.34.0', '--set', 'metrics.podMonitor.enabled=true'];
  return scrapeConfigs(only(parseObjects(await runTool('helm', args)), 'PodMonitor'), { pod: file, endpoints: file }, '1s');
}

async function ofManifests(file: string): Promise<readonly object[]> {
  const monitor = parse(await readFile('manifests/components/monitoring/pod-monitor.yaml', 'utf8')) as Parameters<typeof scrapeConfigs>[0];
  return scrapeConfigs(monitor, { pod: file, endpoints: file }, '1s');
}

async function plain(file: string): Promise<readonly object[]> {
  const { scrape_configs } = parse(await readFile('manifests/components/monitoring/scrape-configs.yaml', 'utf8')) as {
    readonly scrape_configs: readonly Readonly<Record<string, unknown>>[];
  };
  return scrape_configs.map(({ kubernetes_sd_configs, ...rest }) => ({
    ...rest,
    scrape_interval: '1s',
    scrape_timeout: '1s',
    file_sd_configs: [{ files: [file] }],
  }));
}

suite('a pod that tells of others', { skip: skipWithout('prometheus', 'helm') }, () => {
  for (const [which, configs] of Object.entries({ ofChart, ofManifests, plain })) {
    test(`is not believed by Prometheus (${which})`, async () => {
      await using workspace = await Workspace.open();
      const server = createServer((_, response) => response.end(`${said.join('\n')}\n`)).listen(0, '127.0.0.1');
      try {
        await once(server, 'listening');
        const targets = [`127.0.0.1:${String((server.address() as AddressInfo).port)}`];
        await writeFile(workspace.file('pods.json'), JSON.stringify([{ targets, labels: pod }]));
        const config = { scrape_configs: await configs(workspace.file('pods.json')) };
        await using prometheus = await Prometheus.start(workspace.file('prometheus'), config, {});
        const [progress] = await waitFor('a scrape', async () => {
          const found = await prometheus.query('sdxl_progress_ratio');
          return found.length > 0 ? found : undefined;
        });
        const { namespace, job, pod: name, rank } = progress?.metric ?? {};
        assert.deepEqual([namespace, job, name, rank], ['team', 'own', 'own-1-0-abcde', '0']);
        const names = await prometheus.query('count by (__name__) ({__name__=~"sdxl_.+|kube_.+"})');
        assert.deepEqual(
          names.map(({ metric }) => metric['__name__']),
          ['sdxl_progress_ratio'],
        );
        assert.deepEqual(await prometheus.query('{namespace="theirs"}'), []);
      } finally {
        server.close();
        server.closeAllConnections();
      }
    });
  }
});

test('every series of ranks is taken', async () => {
  const monitor = parse(await readFile('manifests/components/monitoring/pod-monitor.yaml', 'utf8')) as {
    readonly spec: { readonly podMetricsEndpoints: readonly { readonly metricRelabelings: readonly { readonly regex: string }[] }[] };
  };
  const kept = new RegExp(`^(?:${monitor.spec.podMetricsEndpoints[0]?.metricRelabelings[0]?.regex ?? ''})$`, 'u');
  const ofRanks = [...(await promisedMetrics())].filter(([, labels]) => labels.includes('rank')).map(([name]) => name);
  assert.ok(ofRanks.length > 5);
  assert.deepEqual(
    ofRanks.filter((name) => !kept.test(name)),
    [],
  );
});
