/**
 * Kubernetes' service discovery for a Prometheus that is built without it, as Debian's is: targets of pods and of endpoints in files, with the labels that
 * the discovery gives, as far as monitors read them.
 */
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { CoreV1Api, type V1Endpoints, type V1Pod } from '@kubernetes/client-node';
import type { Cluster } from './cluster/index.js';
import { metaName, type TargetFiles } from './scrape-config.js';

interface TargetGroup {
  readonly targets: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
}

const intervalMs = 250;

export class Discovery implements AsyncDisposable {
  readonly files: TargetFiles;
  readonly #core: CoreV1Api;
  readonly #ended = new AbortController();
  #following: Promise<void> = Promise.resolve();

  private constructor(files: TargetFiles, core: CoreV1Api) {
    this.files = files;
    this.#core = core;
  }

  /** @param directory where the files go; whoever gives it removes it */
  static async start(cluster: Cluster, directory: string): Promise<Discovery> {
    const files = { endpoints: join(directory, 'endpoints.json'), pod: join(directory, 'pods.json') };
    const discovery = new Discovery(files, cluster.api(CoreV1Api));
    await discovery.#write();
    discovery.#following = discovery.#follow();
    return discovery;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended.abort();
    await this.#following;
  }

  async #follow(): Promise<void> {
    while (!this.#ended.signal.aborted) {
      await delay(intervalMs);
      await this.#write();
    }
  }

  async #write(): Promise<void> {
    const [pods, endpoints] = await Promise.all([this.#core.listPodForAllNamespaces(), this.#core.listEndpointsForAllNamespaces()]);
    await replace(this.files.pod, pods.items.flatMap(groupsOfPod));
    await replace(
      this.files.endpoints,
      endpoints.items.flatMap((each) => groupsOfEndpoints(each, pods.items)),
    );
  }
}

function groupsOfPod(pod: V1Pod): readonly TargetGroup[] {
  const address = pod.status?.podIP;
  if (address === undefined) return [];
  return (pod.spec?.containers ?? []).flatMap((container) =>
    (container.ports ?? []).map(({ name = '', containerPort }) => ({
      targets: [`${address}:${String(containerPort)}`],
      labels: {
        ...labelsOfPod(pod, container.name),
        ...labelsOf('pod', pod.metadata?.labels),
        __meta_kubernetes_pod_container_port_name: name,
      },
    })),
  );
}

/** Endpoints have the labels of their Service. */
function groupsOfEndpoints({ metadata, subsets = [] }: V1Endpoints, pods: readonly V1Pod[]): readonly TargetGroup[] {
  return subsets.flatMap(({ addresses = [], ports = [] }) =>
    addresses.flatMap(({ ip, targetRef }) =>
      ports.map(({ name = '', port }) => {
        const pod = pods.find((each) => targetRef?.uid !== undefined && each.metadata?.uid === targetRef.uid);
        const container = pod?.spec?.containers.find((each) => (each.ports ?? []).some(({ containerPort }) => containerPort === port));
        return {
          targets: [`${ip}:${String(port)}`],
          labels: {
            ...(pod === undefined ? {} : labelsOfPod(pod, container?.name ?? '')),
            ...labelsOf('service', metadata?.labels),
            __meta_kubernetes_namespace: metadata?.namespace ?? '',
            __meta_kubernetes_service_name: metadata?.name ?? '',
            __meta_kubernetes_endpoint_port_name: name,
          },
        };
      }),
    ),
  );
}

function labelsOfPod({ metadata, status }: V1Pod, container: string): TargetGroup['labels'] {
  return {
    __meta_kubernetes_namespace: metadata?.namespace ?? '',
    __meta_kubernetes_pod_name: metadata?.name ?? '',
    __meta_kubernetes_pod_phase: status?.phase ?? '',
    __meta_kubernetes_pod_container_name: container,
  };
}

function labelsOf(role: 'pod' | 'service', labels: Readonly<Record<string, string>> = {}): TargetGroup['labels'] {
  return Object.fromEntries(Object.entries(labels).map(([label, value]) => [`__meta_kubernetes_${role}_label_${metaName(label)}`, value]));
}

/** Whole at any time. */
async function replace(file: string, groups: readonly TargetGroup[]): Promise<void> {
  await writeFile(`${file}.new`, JSON.stringify(groups));
  await rename(`${file}.new`, file);
}
