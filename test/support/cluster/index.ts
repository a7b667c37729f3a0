/** A real Kubernetes cluster for tests. Start at `clusterSuite` in a test file, or at `Cluster.start`. */
export { buildControlPlane, clusterSkipReason } from './binaries.js';
export { Cluster, type ClusterOptions, type KubeconfigOptions, type TestNamespace } from './cluster.js';
export { Node, shellImage, type ContainerProcess, type Image, type NodeOptions, type PodReference } from './node.js';
export { clusterSuite, type ClusterSuite } from './suite.js';
export { waitFor, type WaitOptions } from './wait.js';
export { type ApiCall, type CallPattern, type FinishedCall, type Verb } from './api-call.js';
export { FaultProxy, type Fault, type Moment } from './fault-proxy.js';
