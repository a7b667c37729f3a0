/** The CRD of this project on a test's API server, and calls as plain JSON: the client library's models drop fields of schemas. */
import { readFile } from 'node:fs/promises';
import { parse } from 'yaml';
import { ApiClient, connect, RateLimiter } from '../../operator/kube/index.js';
import { packageFile } from '../../runtime/package-root.js';
import { waitFor, type Cluster, type KubeconfigOptions } from './cluster/index.js';

let clients = 0;

/** A client that nothing holds back. */
export async function openClient(cluster: Cluster, options: KubeconfigOptions = {}): Promise<ApiClient> {
  const kubeconfig = await cluster.writeKubeconfig(`client-${String(clients++)}`, options);
  const connection = await connect({ kubeconfig, serviceHost: undefined, servicePort: undefined });
  return new ApiClient({ connection, limiter: new RateLimiter(10_000, 10_000), fieldManager: 'test', userAgent: 'test' });
}

/** Resolves once the API server serves SdxlJobs. */
export async function installCrd(client: ApiClient): Promise<void> {
  const body: unknown = parse(await readFile(packageFile('crds/sdxl.io_sdxljobs.yaml'), 'utf8'));
  const signal = AbortSignal.timeout(60_000);
  await client.call({ verb: 'POST', path: '/apis/apiextensions.k8s.io/v1/customresourcedefinitions', body, signal });
  await waitFor('SdxlJobs', () => client.call({ verb: 'GET', path: '/apis/sdxl.io/v1alpha1/sdxljobs', signal }));
}
