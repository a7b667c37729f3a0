/** Starts etcd, kube-apiserver, kube-controller-manager and kube-scheduler with the flags that suit tests. */
import { readFileSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { get as getHttp } from 'node:http';
import { get as getHttps } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ClusterOptions } from './cluster.js';
import { kubeconfig, writeCredentials, type Credentials } from './credentials.js';
import { kubeconfigFile, logFile, servingCertificate } from './paths.js';
import { freePort } from './ports.js';
import { Server } from './server.js';

export interface ControlPlane {
  readonly directory: string;
  readonly url: string;
  readonly certificateAuthority: string;
  readonly etcd: Server;
  readonly apiServer: Server;
  readonly controllerManager: Server | undefined;
  readonly scheduler: Server | undefined;
}

/** What to close, in the order it was opened. */
export type Closing = AsyncDisposable[];

export async function closeAll(closing: Closing): Promise<void> {
  for (let last = closing.pop(); last !== undefined; last = closing.pop()) await last[Symbol.asyncDispose]();
}

/** @param closing takes each part as soon as it runs, also when a later one fails. */
export async function startControlPlane(options: ClusterOptions, closing: Closing): Promise<ControlPlane & { readonly token: string }> {
  const directory = await mkdtemp(join(tmpdir(), 'sdxl-cluster-'));
  closing.push({ [Symbol.asyncDispose]: () => rm(directory, { recursive: true, force: true, maxRetries: 5 }) });
  await mkdir(join(directory, 'logs'));
  const credentials = await writeCredentials(directory);
  const keep = (server: Server): Server => {
    closing.push(server);
    return server;
  };

  const etcdUrl = `http://127.0.0.1:${String(await freePort())}`;
  const etcd = keep(await startEtcd(directory, etcdUrl));
  const port = await freePort();
  const url = `https://127.0.0.1:${String(port)}`;
  const apiServer = keep(await startApiServer(directory, etcdUrl, port, credentials, options));
  const certificateAuthority = await readFile(servingCertificate(directory), 'utf8');
  for (const [user, token] of Object.entries(credentials.tokens)) {
    await writeFile(kubeconfigFile(directory, user), kubeconfig({ server: url, token, namespace: 'default' }, certificateAuthority), {
      mode: 0o600,
    });
  }
  const parts = { directory, url, certificateAuthority, etcd, apiServer, token: credentials.tokens.admin };
  if (options.parts === 'api-server') return { ...parts, controllerManager: undefined, scheduler: undefined };
  const [controllerManager, scheduler] = await Promise.all([
    startControllerManager(directory, credentials, options).then(keep),
    startScheduler(directory, options).then(keep),
  ]);
  return { ...parts, controllerManager, scheduler };
}

async function startEtcd(directory: string, url: string): Promise<Server> {
  const peerUrl = `http://127.0.0.1:${String(await freePort())}`;
  return await Server.start({
    program: 'etcd',
    args: [
      `--data-dir=${join(directory, 'etcd')}`,
      `--listen-client-urls=${url}`,
      `--advertise-client-urls=${url}`,
      `--listen-peer-urls=${peerUrl}`,
      `--initial-advertise-peer-urls=${peerUrl}`,
      `--initial-cluster=default=${peerUrl}`,
      // The data need not survive the machine.
      '--unsafe-no-fsync',
      '--quota-backend-bytes=4294967296',
      '--log-level=warn',
    ],
    logFile: logFile(directory, 'etcd'),
    isReady: () => answersOk(`${url}/readyz`),
  });
}

async function startApiServer(
  directory: string,
  etcdUrl: string,
  port: number,
  { tokens, tokenFile, serviceAccountKeyFile }: Credentials,
  options: ClusterOptions,
): Promise<Server> {
  const unreachable = String(options.unreachableTolerationSeconds ?? 2);
  return await Server.start({
    program: 'kube-apiserver',
    args: [
      `--etcd-servers=${etcdUrl}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${String(port)}`,
      `--cert-dir=${join(directory, 'certificates')}`,
      // Endpoints refuse loopback addresses, so the Service kubernetes has none.
      '--endpoint-reconciler-type=none',
      '--service-cluster-ip-range=10.96.0.0/16',
      '--authorization-mode=RBAC',
      `--token-auth-file=${tokenFile}`,
      '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
      `--service-account-key-file=${serviceAccountKeyFile}`,
      `--service-account-signing-key-file=${serviceAccountKeyFile}`,
      '--kubelet-preferred-address-types=InternalIP',
      '--allow-privileged=true',
      '--profiling=false',
      `--default-not-ready-toleration-seconds=${unreachable}`,
      `--default-unreachable-toleration-seconds=${unreachable}`,
      ...(options.apiServerFlags ?? []),
    ],
    logFile: logFile(directory, 'kube-apiserver'),
    isReady: () => answersOk(`https://127.0.0.1:${String(port)}/readyz`, { token: tokens.admin, authority: servingCertificate(directory) }),
  });
}

/** Controllers that need a cloud or a network plugin. */
const unneeded = [
  'node-ipam-controller',
  'node-route-controller',
  'service-lb-controller',
  'cloud-node-lifecycle-controller',
  'persistentvolume-attach-detach-controller',
];

async function startControllerManager(directory: string, { serviceAccountKeyFile }: Credentials, options: ClusterOptions): Promise<Server> {
  const port = await freePort();
  return await Server.start({
    program: 'kube-controller-manager',
    args: [
      `--kubeconfig=${kubeconfigFile(directory, 'kube-controller-manager')}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${String(port)}`,
      `--cert-dir=${join(directory, 'certificates')}`,
      '--leader-elect=false',
      '--use-service-account-credentials=true',
      `--service-account-private-key-file=${serviceAccountKeyFile}`,
      `--root-ca-file=${servingCertificate(directory)}`,
      `--controllers=*,${unneeded.map((controller) => `-${controller}`).join(',')}`,
      '--node-monitor-period=1s',
      `--node-monitor-grace-period=${String(options.nodeMonitorGraceSeconds ?? 6)}s`,
      '--pvclaimbinder-sync-period=1s',
      '--profiling=false',
      ...(options.controllerManagerFlags ?? []),
    ],
    logFile: logFile(directory, 'kube-controller-manager'),
    isReady: () => answersOk(`https://127.0.0.1:${String(port)}/healthz`),
  });
}

async function startScheduler(directory: string, options: ClusterOptions): Promise<Server> {
  const port = await freePort();
  return await Server.start({
    program: 'kube-scheduler',
    args: [
      `--kubeconfig=${kubeconfigFile(directory, 'kube-scheduler')}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${String(port)}`,
      `--cert-dir=${join(directory, 'certificates')}`,
      '--leader-elect=false',
      '--profiling=false',
      ...(options.schedulerFlags ?? []),
    ],
    logFile: logFile(directory, 'kube-scheduler'),
    isReady: () => answersOk(`https://127.0.0.1:${String(port)}/readyz`),
  });
}

/** @param trust the API server's; the other programs' certificates say nothing. */
async function answersOk(url: string, trust?: { readonly token: string; readonly authority: string }): Promise<boolean> {
  const tls = trust === undefined ? { rejectUnauthorized: false } : { ca: readFileSync(trust.authority) };
  const headers = trust === undefined ? {} : { authorization: `Bearer ${trust.token}` };
  return await new Promise((resolve, reject) => {
    const request = url.startsWith('https:') ? getHttps(url, { ...tls, headers, agent: false }) : getHttp(url, { agent: false });
    request.setTimeout(2_000, () => request.destroy(new Error(`${url} did not answer`)));
    request.once('error', reject).once('response', (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
  });
}
