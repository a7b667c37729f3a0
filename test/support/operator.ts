/** The operator as a process of this machine, and what its jobs need. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { JobStatus } from '../../operator/api/index.js';
import type { ApiClient } from '../../operator/kube/index.js';
import { packageFile } from '../../runtime/package-root.js';
import { waitFor, type Cluster } from './cluster/index.js';

export interface OperatorStart {
  readonly show?: boolean;
  readonly args?: readonly string[];
  readonly server?: string;
  /** Of Node, before the program. */
  readonly nodeArgs?: readonly string[];
  /** A ServiceAccount's; default: an administrator's. */
  readonly token?: string;
}

export class OperatorProcess implements AsyncDisposable {
  readonly #child: ChildProcess;
  #log = '';

  private constructor(child: ChildProcess, show: boolean) {
    this.#child = child;
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#log += text;
      if (show) process.stderr.write(text);
    });
  }

  static async start(
    cluster: Cluster,
    { show = false, args = [], nodeArgs = [], server = cluster.url, token }: OperatorStart = {},
  ): Promise<OperatorProcess> {
    const kubeconfig = await cluster.writeKubeconfig(`operator-${new URL(server).port}`, {
      server,
      ...(token === undefined ? {} : { token }),
    });
    const addresses = ['--metrics-bind-address', '127.0.0.1:0', '--health-bind-address', '127.0.0.1:0'];
    const all = [
      ...nodeArgs,
      packageFile('dist/operator/main.js'),
      '--kubeconfig',
      kubeconfig,
      '--log-format',
      'text',
      ...addresses,
      ...args,
    ];
    return new OperatorProcess(spawn(process.execPath, all, { stdio: ['ignore', 'ignore', 'pipe'] }), show);
  }

  get log(): string {
    return this.#log;
  }

  /** Stops the process in its tracks, as a machine that is starved or asleep does, until `resume`. */
  pause(): void {
    this.#child.kill('SIGSTOP');
  }

  resume(): void {
    this.#child.kill('SIGCONT');
  }

  /** What it answers to /metrics. */
  async metrics(): Promise<string> {
    const port = /started .*ports="(\d+),/u.exec(this.#log)?.[1];
    if (port === undefined) throw new Error(`the operator does not say where it serves metrics:\n${this.#log}`);
    return await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  }

  /** Resolves once it answers so to /metrics: what it counts follows what it writes. */
  async measures(...expected: readonly RegExp[]): Promise<void> {
    let last = '';
    await waitFor(
      `metrics ${expected.map(String).join(', ')}`,
      async () => {
        last = await this.metrics();
        return expected.every((each) => each.test(last)) || undefined;
      },
      { context: () => last },
    );
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const exited = once(this.#child, 'exit');
      this.#child.kill(signal);
      // One that is paused takes no other signal.
      this.#child.kill('SIGCONT');
      await exited;
    }
    return this.#child.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.end('SIGTERM');
  }
}

/**
 * A volume that claims without a class are bound to; @returns its directory on this machine.
 * @param claimRef the only claim that may have it; default: any
 */
export async function addVolume(
  cluster: Cluster,
  client: ApiClient,
  name: string,
  claimRef?: { readonly namespace: string; readonly name: string },
): Promise<string> {
  const path = join(cluster.directory, 'volumes', name);
  await mkdir(path, { recursive: true });
  await chmod(path, 0o777);
  const spec = { capacity: { storage: '1Gi' }, accessModes: ['ReadWriteOnce', 'ReadWriteMany'], hostPath: { path }, claimRef };
  const body = { apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name }, spec };
  await client.call({ verb: 'POST', path: '/api/v1/persistentvolumes', body, signal: AbortSignal.timeout(30_000) });
  return path;
}

export async function createJob(client: ApiClient, namespace: string, job: object): Promise<void> {
  const path = `/apis/sdxl.io/v1alpha1/namespaces/${namespace}/sdxljobs`;
  await client.call({ verb: 'POST', path, body: job, signal: AbortSignal.timeout(30_000) });
}

export async function statusOf(client: ApiClient, namespace: string, name: string): Promise<JobStatus> {
  const path = `/apis/sdxl.io/v1alpha1/namespaces/${namespace}/sdxljobs/${name}`;
  return (await client.call<{ readonly status: JobStatus }>({ verb: 'GET', path, signal: AbortSignal.timeout(30_000) })).status;
}
