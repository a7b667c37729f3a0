/**
 * What kstatus makes of a custom resource, by which Flux and others wait: the generic rules of sigs.k8s.io/cli-utils v0.37, pkg/kstatus/status
 * (core.go and status.go), in their order.
 */
export type KStatus = 'Terminating' | 'InProgress' | 'Failed' | 'Current';

export interface CustomResource {
  readonly metadata: { readonly generation?: number; readonly deletionTimestamp?: string | null };
  readonly status?: {
    readonly observedGeneration?: number;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
  };
}

export function kstatusOf({ metadata, status }: CustomResource): KStatus {
  if (typeof metadata.deletionTimestamp === 'string') return 'Terminating';
  const { observedGeneration, conditions = [] } = status ?? {};
  if (observedGeneration !== undefined && observedGeneration !== metadata.generation) return 'InProgress';
  for (const { type, status: state } of conditions) {
    if (type === 'Reconciling' && state === 'True') return 'InProgress';
    if (type === 'Stalled' && state === 'True') return 'Failed';
  }
  const ready = conditions.find(({ type }) => type === 'Ready');
  return ready === undefined || ready.status === 'True' ? 'Current' : 'InProgress';
}
