/** What is to be done next for a job: data, carried out in this order by the reconciler. */
import type { JobStatus } from '../api/index.js';
import type { KubeObject, Resource } from '../kube/index.js';
import type { Child } from '../resources/index.js';

export interface Step {
  /** Written first, so that what follows is known to have been meant; undefined: as it is. */
  readonly status?: JobStatus;
  readonly apply: readonly Child[];
  readonly remove: readonly Removal[];
  /** Told once the status is written. */
  readonly events: readonly EventDraft[];
  readonly facts: readonly Fact[];
  /** Look again after so long; undefined: when something changes. */
  readonly requeueAfterMs?: number | undefined;
}

export interface Removal {
  readonly resource: Resource;
  readonly object: KubeObject;
}

export interface EventDraft {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
}

/** What metrics count, once the status that says so is written. */
export type Fact =
  | { readonly type: 'finished'; readonly result: 'complete' | 'failed'; readonly latencies: readonly number[] }
  | { readonly type: 'restarted'; readonly reason: 'failure' | 'disruption' }
  | { readonly type: 'ready'; readonly seconds: number };

export const nothing: Step = { apply: [], remove: [], events: [], facts: [] };
