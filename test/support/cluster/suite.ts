/** One cluster for all tests of a file. */
import { after, before } from 'node:test';
import { clusterSkipReason } from './binaries.js';
import { Cluster, type ClusterOptions } from './cluster.js';

export interface ClusterSuite {
  /** For the options of each test: why there is no cluster, or false. */
  readonly skip: string | false;
  /** The cluster, within tests and their hooks. */
  readonly cluster: () => Cluster;
}

/**
 * Starts a cluster before the file's tests and ends it after them:
 *
 *     const { skip, cluster } = clusterSuite({ nodes: 2 });
 *     test('…', { skip }, async () => {
 *       await using namespace = await cluster().namespace();
 */
export function clusterSuite(options: ClusterOptions = {}): ClusterSuite {
  const skip = clusterSkipReason(options.parts === 'api-server' ? ['etcd', 'kube-apiserver'] : undefined);
  let cluster: Cluster | undefined;
  if (skip === false) {
    before(async () => {
      cluster = await Cluster.start(options);
    });
    after(async () => {
      await cluster?.[Symbol.asyncDispose]();
    });
  }
  return {
    skip,
    cluster: () => {
      if (cluster === undefined) throw new Error('the cluster runs only within tests');
      return cluster;
    },
  };
}
