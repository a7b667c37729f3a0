/** A node: its agent registers it, reports heartbeats, and runs the containers of its pods as local processes. */
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { join } from 'node:path';
import type { CoreV1Api } from '@kubernetes/client-node';
import type { PodNetwork } from './network.js';
import { kubeconfigFile, logFile } from './paths.js';
import { Server } from './server.js';

export interface NodeOptions {
  /** Default: `node-0`, `node-1`, … */
  readonly name?: string;
  /** What it claims to have. Nothing is measured or limited. */
  readonly cpu?: string;
  readonly memory?: string;
  readonly pods?: number;
  /** `{ 'nvidia.com/gpu': 8 }`. A container gets `NVIDIA_VISIBLE_DEVICES` with the numbers of its devices, as of the device plugin. */
  readonly extendedResources?: Readonly<Record<string, number>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly taints?: readonly {
    readonly key: string;
    readonly value?: string;
    readonly effect: 'NoSchedule' | 'NoExecute' | 'PreferNoSchedule';
  }[];
  /**
   * Images by name, or by name and tag: `ghcr.io/x/runtime` holds for every tag of it. Pods that ask for another one wait in
   * ErrImagePull and ImagePullBackOff.
   */
  readonly images?: Readonly<Record<string, Image>>;
}

/** What stands for a container image: programs of this machine. A container sees the machine's file system below its own mounts. */
export interface Image {
  readonly entrypoint: readonly string[];
  readonly cmd?: readonly string[];
  readonly workingDir?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** As `USER` of a Containerfile; `runAsNonRoot` refuses 0. Default: 0. */
  readonly user?: number;
  /** What a volume of this image holds. */
  readonly directory?: string;
}

/** `/bin/sh` and the tools of this machine, for pods of tests that need no image of their own. */
export const shellImage = 'shell';

export interface ContainerProcess {
  /** On this machine, so `process.kill(pid, 'SIGKILL')` works. */
  readonly pid: number;
  readonly container: string;
  readonly args: readonly string[];
}

export interface PodReference {
  readonly namespace: string;
  readonly name: string;
}

/** What makes a cluster's nodes: where its files are, how pods reach each other, and an administrator's client. */
export interface NodeHome {
  readonly directory: string;
  readonly network: PodNetwork;
  readonly core: CoreV1Api;
}

export class Node implements AsyncDisposable {
  readonly name: string;
  /** Its agent's process. Killing it is a power failure: all pods' processes end with it; `agent.start()` boots the node again. */
  readonly agent: Server;
  readonly #directory: string;

  private constructor(name: string, agent: Server, directory: string) {
    this.name = name;
    this.agent = agent;
    this.#directory = directory;
  }

  /** Starts the agent and resolves when the scheduler may use the node. */
  static async start(options: NodeOptions & { readonly name: string; readonly index: number }, home: NodeHome): Promise<Node> {
    const { name, index } = options;
    const directory = join(home.directory, 'nodes', name);
    await mkdir(directory, { recursive: true });
    const configFile = join(directory, 'config.json');
    const config = {
      name,
      directory,
      kubeconfig: kubeconfigFile(home.directory, 'node-agent'),
      network: {
        namespacePid: home.network.holder.pid,
        gateway: home.network.gateway,
        hostAddress: home.network.hostAddress,
        podAddresses: home.network.range(index),
      },
      capacity: {
        cpu: options.cpu ?? '64',
        memory: options.memory ?? '256Gi',
        pods: String(options.pods ?? 200),
        'ephemeral-storage': '100Gi',
        ...Object.fromEntries(Object.entries(options.extendedResources ?? {}).map(([resource, count]) => [resource, String(count)])),
      },
      labels: options.labels ?? {},
      taints: options.taints ?? [],
      images: { [shellImage]: { entrypoint: [] }, ...options.images },
    };
    await writeFile(configFile, JSON.stringify(config));
    const agent = await Server.start({
      program: 'node-agent',
      name,
      args: [`--config=${configFile}`],
      logFile: logFile(home.directory, name),
      isReady: async () => {
        const { spec, status } = await home.core.readNode({ name });
        const ready = status?.conditions?.find(({ type }) => type === 'Ready')?.status === 'True';
        return ready && !(spec?.taints ?? []).some(({ key }) => key.startsWith('node.kubernetes.io/'));
      },
    });
    return new Node(name, agent, directory);
  }

  /** Cuts the node off from the API server: no heartbeats, no status, nothing learned. Its pods go on. */
  async freeze(): Promise<void> {
    await this.#control('POST', '/freeze');
  }

  async thaw(): Promise<void> {
    await this.#control('POST', '/thaw');
  }

  /** Processes of a running pod, the first of each container first. */
  async processes(pod: PodReference): Promise<ContainerProcess[]> {
    return JSON.parse(await this.#control('GET', `/processes?${query(pod)}`)) as ContainerProcess[];
  }

  /** Ends a pod as a node under pressure does: killed, phase Failed, reason Evicted, condition DisruptionTarget. */
  async evict(pod: PodReference): Promise<void> {
    await this.#control('POST', `/evict?${query(pod)}`);
  }

  /** Replaces the images the node can run. */
  async setImages(images: Readonly<Record<string, Image>>): Promise<void> {
    await this.#control('PUT', '/images', JSON.stringify({ [shellImage]: { entrypoint: [] }, ...images }));
  }

  /**
   * What a container wrote, also after its pod is gone.
   * @param restart counts from 0; default: the last
   */
  async logs(pod: PodReference, container: string, restart?: number): Promise<string> {
    const pods = join(this.#directory, 'logs');
    // Several pods may have had the name.
    const folders = (await readdir(pods))
      .filter((name) => name.startsWith(`${pod.namespace}_${pod.name}_`))
      .map((name) => join(pods, name, container));
    const ages = await Promise.all(folders.map(async (folder) => ({ folder, startedMs: (await stat(folder)).birthtimeMs })));
    const folder = ages.sort((a, b) => a.startedMs - b.startedMs).at(-1)?.folder;
    if (folder === undefined) throw new Error(`${pod.namespace}/${pod.name} has not run on ${this.name}`);
    const names = (await readdir(folder)).filter((name) => restart === undefined || name === `${String(restart)}.log`);
    const last = names.sort((a, b) => parseInt(a) - parseInt(b)).at(-1);
    if (last === undefined) throw new Error(`no log in ${folder}`);
    return await readFile(join(folder, last), 'utf8');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.agent[Symbol.asyncDispose]();
  }

  async #control(method: string, path: string, body = ''): Promise<string> {
    return await new Promise((resolve, reject) => {
      const sent = request(
        { socketPath: join(this.#directory, 'control.sock'), method, path, agent: false, timeout: 30_000 },
        (response) => {
          let answer = '';
          response.setEncoding('utf8').on('data', (text: string) => (answer += text));
          response.once('error', reject).once('end', () => {
            if (response.statusCode === 200) resolve(answer);
            else reject(new Error(`${this.name}: ${method} ${path}: ${answer}`));
          });
        },
      );
      sent.once('error', reject).once('timeout', () => sent.destroy(new Error(`${this.name} did not answer ${method} ${path}`)));
      sent.end(body);
    });
  }
}

function query({ namespace, name }: PodReference): string {
  return new URLSearchParams({ namespace, name }).toString();
}
