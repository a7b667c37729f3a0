/**
 * The API server from an operator's side: calls, caches, a queue and leadership. Knows how Kubernetes talks and nothing of jobs, images or ranks.
 */
export { ApiError } from './api-error.js';
export { ApiClient, type CallFacts } from './client.js';
export { connect, ConnectionError, type Connection } from './connection.js';
export { Informer, type RestartReason } from './informer.js';
export { LeaderElection, type ElectionTiming } from './leader-election.js';
export {
  apiVersionOf,
  keyOf,
  pathOf,
  resources,
  type Condition,
  type KubeList,
  type KubeObject,
  type ObjectMeta,
  type OwnerReference,
  type Resource,
} from './objects.js';
export { applyOwn, createOwn, findOwn } from './own-objects.js';
export { RateLimiter } from './rate-limiter.js';
export { WorkQueue } from './work-queue.js';
