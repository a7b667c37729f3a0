/**
 * Writes the files derived from others, above all from the SdxlJob CRD: `npm run generate`. With `--check` it writes nothing and fails where a
 * checked-in file differs from what would be written.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { format, resolveConfig } from 'prettier';
import { renderApiReference } from './api-reference.js';
import { renderChartReadme, renderCrdTemplate } from './chart.js';
import { readCrd } from './crd.js';
import { jobsDashboard } from './dashboards/jobs.js';
import { operatorDashboard } from './dashboards/operator.js';
import { renderDashboard } from './dashboards/panels.js';
import { renderArgoConfig, renderChartAlerts, renderPrometheusRule, renderRole, renderRules } from './manifests.js';
import { renderSchemaModule } from './schema-module.js';
import { renderTypes } from './types-module.js';

const text = (path: string): Promise<string> => readFile(path, 'utf8');

const crdPath = 'crds/sdxl.io_sdxljobs.yaml';
const crd = await readCrd(crdPath);
const chart = 'charts/sdxl-operator';
const monitoring = 'manifests/components/monitoring';
const clusterRole = 'manifests/overlays/cluster-wide/cluster-role.yaml';
const leaderElectionRole = 'manifests/base/leader-election-role.yaml';
const alerts = `${monitoring}/alerts.yaml`;
const health = 'manifests/gitops/argocd/health.lua';

const formatted: Record<string, string> = {
  'crds/generated/schema.ts': renderSchemaModule(crd),
  'crds/generated/sdxl-job.ts': renderTypes(crd),
  'docs/api.md': renderApiReference(crd),
  [`${chart}/README.md`]: renderChartReadme(await text(`${chart}/values.yaml`)),
  [`${monitoring}/prometheus-rule.yaml`]: renderPrometheusRule(await text(alerts), alerts),
  'manifests/overlays/namespaced/role.yaml': renderRole(await text(clusterRole), clusterRole),
  'manifests/gitops/argocd/argocd-cm.yaml': renderArgoConfig(await text(health), health),
};
for (const [name, builder] of Object.entries({ 'sdxl-jobs': jobsDashboard(), 'sdxl-operator': operatorDashboard() })) {
  formatted[`manifests/components/dashboards/${name}.json`] = renderDashboard(builder);
  formatted[`${chart}/files/dashboards/${name}.json`] = renderDashboard(builder);
}
/** Templates are no YAML yet, and what a template pastes is no document of its own. */
const verbatim = {
  [`${chart}/templates/crd.yaml`]: renderCrdTemplate(await text(crdPath)),
  [`${chart}/files/rules.yaml`]: renderRules(await text(clusterRole), clusterRole),
  [`${chart}/files/leader-election-rules.yaml`]: renderRules(await text(leaderElectionRole), leaderElectionRole),
  [`${chart}/files/alerts.yaml`]: renderChartAlerts(await text(alerts), alerts),
};

const outputs: Record<string, string> = { ...verbatim };
for (const [path, content] of Object.entries(formatted)) {
  outputs[path] = await format(content, { ...(await resolveConfig(path)), filepath: path });
}

const check = process.argv.includes('--check');
const stale: string[] = [];
for (const [path, wanted] of Object.entries(outputs)) {
  if (check) {
    const found = await text(path).catch(() => undefined);
    if (found !== wanted) stale.push(path);
  } else {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, wanted);
  }
}
if (stale.length > 0) {
  console.error(`not what their sources give, run "npm run generate": ${stale.join(', ')}`);
  process.exitCode = 1;
}
