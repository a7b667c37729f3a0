/** kubectl and helm against a cluster of the tests, as an administrator uses them. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { programFile } from './cluster/binaries.js';
import type { Cluster } from './cluster/index.js';
import { toolPath, tryProgram, type Outcome } from './tools.js';

const execute = promisify(execFile);
/** Waits within a command have their own deadlines, which come first. */
const timeoutMs = 180_000;

export class Administrator {
  readonly #env: NodeJS.ProcessEnv;
  readonly #kubectl: string;

  private constructor(env: NodeJS.ProcessEnv, kubectl: string) {
    this.#env = env;
    this.#kubectl = kubectl;
  }

  static async of(cluster: Cluster): Promise<Administrator> {
    const kubeconfig = await cluster.writeKubeconfig('administrator');
    // Both keep what they discover under the home directory.
    const env = { PATH: process.env['PATH'], KUBECONFIG: kubeconfig, HOME: cluster.directory };
    return new Administrator(env, await programFile('kubectl'));
  }

  /** Output of a command that must succeed. */
  async kubectl(...args: readonly string[]): Promise<string> {
    return (await execute(this.#kubectl, args, { env: this.#env, timeout: timeoutMs, maxBuffer: 1 << 26 })).stdout;
  }

  async tryKubectl(...args: readonly string[]): Promise<Outcome> {
    return await tryProgram(this.#kubectl, args, this.#env);
  }

  async helm(...args: readonly string[]): Promise<string> {
    return (await execute(toolPath('helm'), args, { env: this.#env, timeout: timeoutMs, maxBuffer: 1 << 26 })).stdout;
  }
}
