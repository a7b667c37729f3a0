/**
 * How the API server is reached and who asks: a pod's service account, or a kubeconfig. Both are read here without a client library, whose import
 * would cost more memory than all the rest of the operator; kubeconfigs with exec plugins, OIDC or proxies are left to @kubernetes/client-node.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { SecureContextOptions } from 'node:tls';

export interface Connection {
  readonly server: URL;
  /** The namespace this process belongs to. */
  readonly namespace: string | undefined;
  /** Certificates as of now; an object that stays the same while they do. */
  readonly tls: () => Promise<TlsOptions>;
  /** Headers that say who asks, as of now. */
  readonly headers: () => Promise<Readonly<Record<string, string>>>;
}

export type TlsOptions = SecureContextOptions & { readonly rejectUnauthorized?: boolean; readonly servername?: string };

export interface ConnectionOptions {
  /** Path of a kubeconfig; it comes before the service account. */
  readonly kubeconfig: string | undefined;
  /** Address of the API server within a cluster. */
  readonly serviceHost: string | undefined;
  readonly servicePort: string | undefined;
}

const serviceAccount = '/var/run/secrets/kubernetes.io/serviceaccount';
/** Tokens are renewed every hour at the most; the kubelet writes the new one long before the old one ends. */
const rereadMs = 60_000;

/** What was given to reach the API server by cannot be used. */
export class ConnectionError extends Error {
  override readonly name = 'ConnectionError';
}

/** @throws ConnectionError naming the file, what is wrong with it and what to set */
export async function connect({ kubeconfig, serviceHost, servicePort }: ConnectionOptions): Promise<Connection> {
  const inCluster = kubeconfig === undefined && serviceHost !== undefined;
  const path = kubeconfig ?? join(homedir(), '.kube', 'config');
  try {
    return await (inCluster ? fromServiceAccount(serviceHost, servicePort ?? '443') : fromKubeconfig(path));
  } catch (cause) {
    // Of what is wrong with YAML, the lines that show the place are left out.
    const [why = ''] = (cause instanceof Error ? cause.message : String(cause)).split(/:?\n/u);
    const message = inCluster
      ? `the pod's service account can't be used: ${why}: give the pod one, with its token, or set --kubeconfig`
      : `the kubeconfig ${path} can't be used: ${why}: set KUBECONFIG or --kubeconfig to one that can`;
    throw new ConnectionError(message, { cause });
  }
}

async function fromServiceAccount(host: string, port: string): Promise<Connection> {
  const token = rereadFile(join(serviceAccount, 'token'));
  const ca = rereadFile(join(serviceAccount, 'ca.crt'));
  const namespace = (await readFile(join(serviceAccount, 'namespace'), 'utf8')).trim();
  return {
    server: new URL(`https://${host.includes(':') ? `[${host}]` : host}:${port}`),
    namespace,
    tls: sameWhile(ca, (content) => ({ ca: content })),
    headers: async () => ({ authorization: `Bearer ${(await token()).trim()}` }),
  };
}

interface Kubeconfig {
  readonly 'current-context'?: string;
  readonly contexts?: readonly { readonly name: string; readonly context: { cluster: string; user: string; namespace?: string } }[];
  readonly clusters?: readonly { readonly name: string; readonly cluster: Readonly<Record<string, string | boolean | undefined>> }[];
  readonly users?: readonly { readonly name: string; readonly user: Readonly<Record<string, unknown>> }[];
}

const noContext = "it has no current-context with a cluster's server";

async function fromKubeconfig(path: string): Promise<Connection> {
  const { parse } = await import('yaml');
  const config = parse(await readFile(path, 'utf8')) as Kubeconfig | null;
  const context = config?.contexts?.find(({ name }) => name === config['current-context'])?.context;
  const cluster = config?.clusters?.find(({ name }) => name === context?.cluster)?.cluster;
  const user = config?.users?.find(({ name }) => name === context?.user)?.user ?? {};
  const server = cluster?.['server'];
  if (context === undefined || typeof server !== 'string') {
    throw new Error(noContext);
  }
  const plain = ['client-certificate', 'client-certificate-data', 'client-key', 'client-key-data', 'token', 'tokenFile'];
  if (Object.keys(user).some((key) => !plain.includes(key)) || cluster?.['proxy-url'] !== undefined) return fromClientLibrary(path);

  const content = async (record: Readonly<Record<string, unknown>> | undefined, key: string): Promise<Buffer | undefined> => {
    const [data, file] = [record?.[`${key}-data`], record?.[key]];
    if (typeof data === 'string') return Buffer.from(data, 'base64');
    return typeof file === 'string' ? readFile(resolve(dirname(path), file)) : undefined;
  };
  const [ca, cert, key] = [
    await content(cluster, 'certificate-authority'),
    await content(user, 'client-certificate'),
    await content(user, 'client-key'),
  ];
  const servername = cluster?.['tls-server-name'];
  const tls: TlsOptions = {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(cluster?.['insecure-skip-tls-verify'] === true ? { rejectUnauthorized: false } : {}),
    ...(typeof servername === 'string' ? { servername } : {}),
  };
  const token = await tokenOf(user, path);
  return {
    server: new URL(server),
    namespace: context.namespace,
    tls: async () => tls,
    headers: async () => (token === undefined ? {} : { authorization: `Bearer ${(await token()).trim()}` }),
  };
}

async function tokenOf(user: Readonly<Record<string, unknown>>, path: string): Promise<(() => Promise<string>) | undefined> {
  const { token, tokenFile } = user;
  if (typeof tokenFile === 'string') return rereadFile(resolve(dirname(path), tokenFile));
  return typeof token === 'string' ? async () => token : undefined;
}

async function fromClientLibrary(path: string): Promise<Connection> {
  const { KubeConfig } = await import('@kubernetes/client-node');
  const config = new KubeConfig();
  config.loadFromFile(path);
  const server = config.getCurrentCluster()?.server;
  if (server === undefined) throw new Error(noContext);
  const options = async (): Promise<{ headers: Record<string, string>; tls: TlsOptions }> => {
    const applied: Record<string, unknown> = { headers: {} };
    await config.applyToHTTPSOptions(applied);
    const { headers, ...tls } = applied;
    return { headers: headers as Record<string, string>, tls: tls };
  };
  let last: { readonly text: string; readonly tls: TlsOptions } | undefined;
  return {
    server: new URL(server),
    namespace: config.getContextObject(config.getCurrentContext())?.namespace,
    tls: async () => {
      const { tls } = await options();
      const text = JSON.stringify([tls.ca, tls.cert, tls.key].map(String));
      if (last?.text !== text) last = { text, tls };
      return last.tls;
    },
    headers: async () => (await options()).headers,
  };
}

function rereadFile(path: string): () => Promise<string> {
  let content: string | undefined;
  let readAt = 0;
  return async () => {
    const now = performance.now();
    if (content === undefined || now - readAt > rereadMs) {
      content = await readFile(path, 'utf8');
      readAt = now;
    }
    return content;
  };
}

function sameWhile(content: () => Promise<string>, make: (content: string) => TlsOptions): () => Promise<TlsOptions> {
  let last: { readonly content: string; readonly tls: TlsOptions } | undefined;
  return async () => {
    const now = await content();
    if (last?.content !== now) last = { content: now, tls: make(now) };
    return last.tls;
  };
}
