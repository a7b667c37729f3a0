/** Pods of tests: a shell script each, started and awaited. */
import { CoreV1Api, type V1Container, type V1Pod, type V1PodSpec } from '@kubernetes/client-node';
import type { Cluster } from './cluster.js';
import { shellImage, type PodReference } from './node.js';
import { waitFor } from './wait.js';

/** A container that runs a script with the tools of this machine. */
export function shell(script: string, more: Partial<V1Container> = {}): V1Container {
  return { name: 'main', image: shellImage, command: ['/bin/sh', '-c', script], ...more };
}

/** Creates a pod that runs once. */
export async function runPod(cluster: Cluster, namespace: string, name: string, spec: V1PodSpec): Promise<PodReference> {
  spec.restartPolicy ??= 'Never';
  await cluster.api(CoreV1Api).createNamespacedPod({ namespace, body: { metadata: { name }, spec } });
  return { namespace, name };
}

/** The pod as soon as `reached` holds. */
export async function podOnce(cluster: Cluster, what: string, pod: PodReference, reached: (pod: V1Pod) => boolean): Promise<V1Pod> {
  const core = cluster.api(CoreV1Api);
  let last: V1Pod | undefined;
  return await waitFor(
    `${what} of ${pod.name}`,
    async () => {
      last = await core.readNamespacedPod({ ...pod });
      return reached(last) ? last : undefined;
    },
    { context: async () => `${JSON.stringify(last?.status, undefined, 2)}\n${await cluster.logTails()}` },
  );
}

/** Resolves when the API server no longer knows the pod. */
export async function podGone(cluster: Cluster, pod: PodReference): Promise<void> {
  const core = cluster.api(CoreV1Api);
  await waitFor(
    `end of ${pod.name}`,
    async () => {
      const { items } = await core.listNamespacedPod({ namespace: pod.namespace, fieldSelector: `metadata.name=${pod.name}` });
      return items.length === 0 ? true : undefined;
    },
    { context: () => cluster.logTails() },
  );
}

export function hasEnded({ status }: V1Pod): boolean {
  return status?.phase === 'Succeeded' || status?.phase === 'Failed';
}

export function isReady(pod: V1Pod): boolean {
  return holds(pod, 'Ready');
}

export function holds({ status }: V1Pod, condition: string): boolean {
  return status?.conditions?.find(({ type }) => type === condition)?.status === 'True';
}

export async function podLog(cluster: Cluster, { namespace, name }: PodReference, container = 'main'): Promise<string> {
  return await cluster.api(CoreV1Api).readNamespacedPodLog({ name, namespace, container });
}
