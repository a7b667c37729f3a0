/** The operator as it ships, as a process with its own addresses, seen from outside: /readyz, /metrics and the kernel's account of its memory. */
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { packageFile } from '../../runtime/package-root.js';
import type { Cluster } from '../../test/support/cluster/index.js';
import { freePort } from '../../test/support/cluster/ports.js';
import { parseExposition, type Sample } from './exposition.js';

export class OperatorUnderTest implements AsyncDisposable {
  /** From the start of the process to its first 200 at /readyz. */
  readonly readySeconds: number;
  readonly #child: ChildProcess;
  readonly #metricsPort: number;

  private constructor(child: ChildProcess, metricsPort: number, readySeconds: number) {
    this.#child = child;
    this.#metricsPort = metricsPort;
    this.readySeconds = readySeconds;
  }

  static async start(cluster: Cluster, args: readonly string[] = []): Promise<OperatorUnderTest> {
    const kubeconfig = await cluster.writeKubeconfig('operator-bench');
    const [metricsPort, healthPort] = [await freePort(), await freePort()];
    const addresses = [
      '--metrics-bind-address',
      `127.0.0.1:${String(metricsPort)}`,
      '--health-bind-address',
      `127.0.0.1:${String(healthPort)}`,
    ];
    const started = performance.now();
    const all = [packageFile('dist/operator/main.js'), '--kubeconfig', kubeconfig, '--log-level', 'warn', ...addresses, ...args];
    const child = spawn(process.execPath, all, { stdio: ['ignore', 'ignore', 'inherit'] });
    const answers = async (): Promise<boolean> => {
      const response = await fetch(`http://127.0.0.1:${String(healthPort)}/readyz`).catch(() => undefined);
      return response?.status === 200;
    };
    while (!(await answers())) {
      if (child.exitCode !== null) throw new Error(`the operator ended with ${String(child.exitCode)}`);
      await delay(10);
    }
    return new OperatorUnderTest(child, metricsPort, (performance.now() - started) / 1000);
  }

  async samples(): Promise<Sample[]> {
    return parseExposition(await (await fetch(`http://127.0.0.1:${String(this.#metricsPort)}/metrics`)).text());
  }

  /** Resident memory: now, and the most it has ever been. */
  get residentMiB(): { readonly now: number; readonly peak: number } {
    const status = readFileSync(`/proc/${String(this.#child.pid)}/status`, 'utf8');
    const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB$`, 'mu').exec(status)?.[1]) / 1024;
    return { now: field('VmRSS'), peak: field('VmHWM') };
  }

  /** Processor time used so far, in seconds. */
  get cpuSeconds(): number {
    const [, rest = ''] = readFileSync(`/proc/${String(this.#child.pid)}/stat`, 'utf8').split(') ');
    const fields = rest.split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const exited = once(this.#child, 'exit');
    this.#child.kill('SIGTERM');
    await exited;
  }
}
