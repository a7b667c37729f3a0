/** The parts of Kubernetes objects that this operator reads and writes, as JSON carries them: times are RFC 3339 strings. */

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly generation?: number;
  readonly creationTimestamp?: string | null;
  readonly deletionTimestamp?: string | null;
  readonly deletionGracePeriodSeconds?: number;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
}

export interface KubeObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: ObjectMeta;
}

export interface KubeList {
  readonly metadata: { readonly resourceVersion?: string; readonly continue?: string };
  readonly items: readonly KubeObject[] | null;
}

/** One line of a watch. An ERROR carries a Status, a BOOKMARK nothing but a resourceVersion. */
export type WatchEvent =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK'; readonly object: KubeObject }
  | { readonly type: 'ERROR'; readonly object: { readonly code?: number; readonly reason?: string; readonly message?: string } };

export interface Condition {
  readonly type: string;
  readonly status: string;
  readonly reason?: string;
  readonly message?: string;
  readonly lastTransitionTime?: string;
}

/** Where the API server serves a kind. */
export interface Resource {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
}

export const resources = {
  job: { group: 'batch', version: 'v1', kind: 'Job', plural: 'jobs' },
  pod: { group: '', version: 'v1', kind: 'Pod', plural: 'pods' },
  service: { group: '', version: 'v1', kind: 'Service', plural: 'services' },
  configMap: { group: '', version: 'v1', kind: 'ConfigMap', plural: 'configmaps' },
  secret: { group: '', version: 'v1', kind: 'Secret', plural: 'secrets' },
  claim: { group: '', version: 'v1', kind: 'PersistentVolumeClaim', plural: 'persistentvolumeclaims' },
  coreEvent: { group: '', version: 'v1', kind: 'Event', plural: 'events' },
  event: { group: 'events.k8s.io', version: 'v1', kind: 'Event', plural: 'events' },
  networkPolicy: { group: 'networking.k8s.io', version: 'v1', kind: 'NetworkPolicy', plural: 'networkpolicies' },
  lease: { group: 'coordination.k8s.io', version: 'v1', kind: 'Lease', plural: 'leases' },
  podGroup: { group: 'scheduling.x-k8s.io', version: 'v1alpha1', kind: 'PodGroup', plural: 'podgroups' },
  volcanoPodGroup: { group: 'scheduling.volcano.sh', version: 'v1beta1', kind: 'PodGroup', plural: 'podgroups' },
} as const satisfies Record<string, Resource>;

export function apiVersionOf({ group, version }: Resource): string {
  return group === '' ? version : `${group}/${version}`;
}

/** Path of a collection, or of one object in it. Without a namespace: of all namespaces. */
export function pathOf(resource: Resource, namespace: string | undefined, name?: string): string {
  const { group, version, plural } = resource;
  const root = group === '' ? `/api/${version}` : `/apis/${group}/${version}`;
  const within = namespace === undefined ? root : `${root}/namespaces/${encodeURIComponent(namespace)}`;
  return name === undefined ? `${within}/${plural}` : `${within}/${plural}/${encodeURIComponent(name)}`;
}

/** `namespace/name`. */
export function keyOf({ metadata: { namespace, name } }: KubeObject): string {
  return `${namespace ?? ''}/${name}`;
}
