/**
 * The network of a cluster's pods: each has an address of its own, by which pods, and this machine, reach it. It lives in a network
 * namespace held by one process and is gone with that.
 */
import { randomInt } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { kubeconfigFile, logFile } from './paths.js';
import { Server } from './server.js';

export interface PodNetwork {
  readonly holder: Server;
  /** Where pods reach the API server's Service, and this machine's other pods. */
  readonly gateway: string;
  /** This machine as pods see it: servers of a test that pods call listen there, or on 0.0.0.0. */
  readonly hostAddress: string;
  /** First address and count of the node with that index. */
  readonly range: (node: number) => { readonly first: string; readonly count: number };
}

/** The second number of `10.X.0.0/16`; beyond what most machines use for themselves. */
const lowest = 130;
const highest = 250;

export async function startPodNetwork(directory: string, apiServerPort: number): Promise<PodNetwork> {
  const used = new Set(
    Object.values(networkInterfaces()).flatMap((addresses) => addresses?.map(({ address }) => address.split('.').slice(0, 2).join('.'))),
  );
  for (let attempt = 0; attempt < 50; attempt++) {
    const prefix = `10.${String(randomInt(lowest, highest))}`;
    if (used.has(prefix)) continue;
    const holder = await Server.start({
      program: 'node-agent',
      name: 'pod-network',
      args: [
        'network',
        `--prefix=${prefix}`,
        `--api-server=127.0.0.1:${String(apiServerPort)}`,
        `--kubeconfig=${kubeconfigFile(directory, 'node-agent')}`,
      ],
      logFile: logFile(directory, 'pod-network'),
      isReady: async () =>
        Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ address }) => address === `${prefix}.0.2`)),
    });
    return {
      holder,
      gateway: `${prefix}.0.1`,
      hostAddress: `${prefix}.0.2`,
      range: (node) => ({ first: `${prefix}.${String(node + 1)}.1`, count: 254 }),
    };
  }
  throw new Error('no free network among 10.130.0.0/16 … 10.249.0.0/16');
}
