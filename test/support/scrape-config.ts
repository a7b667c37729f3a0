/** ServiceMonitors and PodMonitors as scrape configurations, with the labels that the Prometheus operator gives. */
import { at, type KubernetesObject } from './manifests.js';

export interface Relabeling {
  readonly source_labels?: readonly string[];
  readonly regex?: string;
  readonly action?: 'keep' | 'drop' | 'labeldrop';
  readonly target_label?: string;
  readonly replacement?: string;
}

/** As monitors write it. */
interface MonitorRelabeling {
  readonly action?: 'keep' | 'labeldrop';
  readonly sourceLabels?: readonly string[];
  readonly targetLabel?: string;
  readonly regex?: string;
}

interface Endpoint {
  readonly port: string;
  readonly honorLabels?: boolean;
  readonly relabelings?: readonly MonitorRelabeling[];
  readonly metricRelabelings?: readonly MonitorRelabeling[];
}

/** Files with the targets of each role, labelled as Kubernetes' service discovery labels them. */
export interface TargetFiles {
  readonly endpoints: string;
  readonly pod: string;
}

/** @param interval in the stead of the monitor's own, which is longer than a test */
export function scrapeConfigs(monitor: KubernetesObject, files: TargetFiles, interval: string): readonly object[] {
  const role = monitor.kind === 'ServiceMonitor' ? 'service' : 'pod';
  const namespace = monitor.metadata.namespace ?? '';
  const endpoints = at(monitor, 'spec', role === 'service' ? 'endpoints' : 'podMetricsEndpoints') as readonly Endpoint[];
  return endpoints.map(({ port, honorLabels = false, relabelings = [], metricRelabelings = [] }, index) => ({
    job_name: `${monitor.kind}/${namespace}/${monitor.metadata.name}/${String(index)}`,
    honor_labels: honorLabels,
    scrape_interval: interval,
    scrape_timeout: interval,
    file_sd_configs: [{ files: [role === 'service' ? files.endpoints : files.pod] }],
    relabel_configs: [
      ...selected(monitor, role),
      ...labelled(role, port, `${namespace}/${monitor.metadata.name}`),
      ...relabelings.map(relabeling),
    ],
    metric_relabel_configs: metricRelabelings.map(relabeling),
  }));
}

function selected(monitor: KubernetesObject, role: 'service' | 'pod'): readonly Relabeling[] {
  const labels = at(monitor, 'spec', 'selector', 'matchLabels') as Readonly<Record<string, string>>;
  const kept = Object.entries(labels).map(([label, value]) => keep(`__meta_kubernetes_${role}_label_${metaName(label)}`, value));
  if (at(monitor, 'spec', 'namespaceSelector', 'any') === true) return kept;
  const names = (at(monitor, 'spec', 'namespaceSelector', 'matchNames') ?? [monitor.metadata.namespace]) as readonly string[];
  return [...kept, keep('__meta_kubernetes_namespace', names.join('|'))];
}

function labelled(role: 'service' | 'pod', port: string, name: string): readonly Relabeling[] {
  return [
    { source_labels: ['__meta_kubernetes_pod_phase'], regex: 'Failed|Succeeded', action: 'drop' },
    keep(role === 'service' ? '__meta_kubernetes_endpoint_port_name' : '__meta_kubernetes_pod_container_port_name', port),
    copied('namespace', '__meta_kubernetes_namespace'),
    ...(role === 'service' ? [copied('service', '__meta_kubernetes_service_name')] : []),
    copied('pod', '__meta_kubernetes_pod_name'),
    copied('container', '__meta_kubernetes_pod_container_name'),
    role === 'service' ? copied('job', '__meta_kubernetes_service_name') : { target_label: 'job', replacement: name },
    { target_label: 'endpoint', replacement: port },
  ];
}

function relabeling({ sourceLabels, targetLabel, action, regex }: MonitorRelabeling): Relabeling {
  return {
    ...(sourceLabels === undefined ? {} : { source_labels: sourceLabels }),
    ...(targetLabel === undefined ? {} : { target_label: targetLabel }),
    ...(action === undefined ? {} : { action }),
    ...(regex === undefined ? {} : { regex }),
  };
}

/** The end of a meta label's name. */
export function metaName(label: string): string {
  return label.replaceAll(/[^a-zA-Z0-9_]/gu, '_');
}

function keep(label: string, regex: string): Relabeling {
  return { source_labels: [label], regex, action: 'keep' };
}

function copied(label: string, from: string): Relabeling {
  return { source_labels: [from], target_label: label };
}
