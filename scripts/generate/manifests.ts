/** Manifests that say again, in another form, what stands in one file. */
import { parseDocument, stringify } from 'yaml';

const notice = (source: string): string => `# Generated from ${source} by "npm run generate". Do not edit.\n`;
const options = { lineWidth: 0, singleQuote: true, flowCollectionPadding: false } as const;

/** A ClusterRole as the Role of one namespace. */
export function renderRole(clusterRole: string, source: string): string {
  const document = parseDocument(clusterRole);
  document.commentBefore = null;
  document.set('kind', 'Role');
  return notice(source) + document.toString(options).replace(/^(#.*\n)+/u, '');
}

/** The rules of a role's file, for the role that the chart makes in its place. */
export function renderRules(role: string, source: string): string {
  return notice(source) + stringify(parseDocument(role).get('rules', true), options);
}

/** Prometheus's rule groups as the Prometheus operator takes them. */
export function renderPrometheusRule(alerts: string, source: string): string {
  const metadata = { name: 'sdxl-operator' };
  const head = { apiVersion: 'monitoring.coreos.com/v1', kind: 'PrometheusRule', metadata };
  return `${notice(source)}${stringify(head, options)}spec:\n${indent(withoutComments(alerts), 2)}`;
}

/** The same groups, for the chart. */
export function renderChartAlerts(alerts: string, source: string): string {
  return notice(source) + withoutComments(alerts);
}

/** Argo CD's configuration with the health check. */
export function renderArgoConfig(lua: string, source: string): string {
  const metadata = {
    name: 'argocd-cm',
    namespace: 'argocd',
    labels: { 'app.kubernetes.io/name': 'argocd-cm', 'app.kubernetes.io/part-of': 'argocd' },
  };
  const head = { apiVersion: 'v1', kind: 'ConfigMap', metadata };
  return `${notice(source)}${stringify(head, options)}data:\n  resource.customizations.health.sdxl.io_SdxlJob: |\n${indent(lua, 4)}`;
}

function withoutComments(yaml: string): string {
  return yaml.replaceAll(/^\s*#.*\n/gmu, '');
}

function indent(text: string, columns: number): string {
  return text.replaceAll(/^(?=.)/gmu, ' '.repeat(columns));
}
