/**
 * A real Kubernetes control plane on loopback, for tests: etcd, kube-apiserver, kube-controller-manager, kube-scheduler, and nodes whose
 * agent runs containers as local processes. Everything lives in a temporary directory and is gone when the cluster is disposed of, or when
 * this process ends in whatever way.
 */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CoreV1Api, KubeConfig, type ApiConstructor, type ApiType } from '@kubernetes/client-node';
import { closeAll, startControlPlane, type Closing, type ControlPlane } from './control-plane.js';
import { kubeconfig } from './credentials.js';
import { startPodNetwork, type PodNetwork } from './network.js';
import { Node, type NodeOptions } from './node.js';
import type { Server } from './server.js';
import { waitFor } from './wait.js';

export interface ClusterOptions {
  /**
   * `full` (default): all parts. `api-server`: etcd and kube-apiserver alone; no Jobs are run, nothing is collected, no pod is scheduled.
   * It starts faster and needs half the memory.
   */
  readonly parts?: 'full' | 'api-server';
  /** Nodes to start with: that many plain ones, or one for each entry. Default: 1, and none with `api-server`. */
  readonly nodes?: number | readonly NodeOptions[];
  /** Flags after the cluster's own: `['--feature-gates=GenericWorkload=true']`. */
  readonly apiServerFlags?: readonly string[];
  readonly controllerManagerFlags?: readonly string[];
  readonly schedulerFlags?: readonly string[];
  /** A node without heartbeats for so long is lost. Default: 6 (Kubernetes' own default is 50). */
  readonly nodeMonitorGraceSeconds?: number;
  /** Pods without tolerations of their own are evicted from a lost node after so long. Default: 2 (Kubernetes' own default is 300). */
  readonly unreachableTolerationSeconds?: number;
}

/** Another way to the same API server. */
export interface KubeconfigOptions {
  /** Default: the API server itself; a fault proxy's address, for example. */
  readonly server?: string;
  /** Default: that of an administrator; a ServiceAccount's, for example. */
  readonly token?: string;
  readonly namespace?: string;
}

export class Cluster implements AsyncDisposable {
  /** Where the cluster keeps everything: logs are in `logs/`, a kubeconfig for an administrator is `kubeconfig`. */
  readonly directory: string;
  /** `https://127.0.0.1:PORT` of the API server. */
  readonly url: string;
  /** The certificate the API server is known by, PEM. */
  readonly certificateAuthority: string;
  readonly etcd: Server;
  readonly apiServer: Server;
  /** Undefined with `parts: 'api-server'`. */
  readonly controllerManager: Server | undefined;
  readonly scheduler: Server | undefined;
  readonly #token: string;
  readonly #nodes: Node[] = [];
  readonly #closing: Closing;
  #network: PodNetwork | undefined;

  private constructor(parts: ControlPlane, token: string, closing: Closing) {
    this.directory = parts.directory;
    this.url = parts.url;
    this.certificateAuthority = parts.certificateAuthority;
    this.etcd = parts.etcd;
    this.apiServer = parts.apiServer;
    this.controllerManager = parts.controllerManager;
    this.scheduler = parts.scheduler;
    this.#token = token;
    this.#closing = closing;
  }

  /** Starts all parts and resolves when the API server, the controllers and all nodes are ready. */
  static async start(options: ClusterOptions = {}): Promise<Cluster> {
    const closing: Closing = [];
    try {
      const { token, ...parts } = await startControlPlane(options, closing);
      const cluster = new Cluster(parts, token, closing);
      const nodes = options.nodes ?? (options.parts === 'api-server' ? 0 : 1);
      const each = typeof nodes === 'number' ? Array.from({ length: nodes }, (): NodeOptions => ({})) : nodes;
      for (const node of each) await cluster.addNode(node);
      return cluster;
    } catch (error) {
      await closeAll(closing);
      throw error;
    }
  }

  get nodes(): readonly Node[] {
    return this.#nodes;
  }

  /** The address of this machine that pods reach; undefined before there is a node. */
  get hostAddress(): string | undefined {
    return this.#network?.hostAddress;
  }

  /** Registers one more node and waits until it is ready for pods. */
  async addNode(options: NodeOptions = {}): Promise<Node> {
    const index = this.#nodes.length;
    const home = { directory: this.directory, network: await this.#podNetwork(), core: this.api(CoreV1Api) };
    const node = await Node.start({ name: `node-${String(index)}`, ...options, index }, home);
    this.#nodes.push(node);
    this.#closing.push(node);
    return node;
  }

  async #podNetwork(): Promise<PodNetwork> {
    if (this.#network === undefined) {
      this.#network = await startPodNetwork(this.directory, Number(new URL(this.url).port));
      this.#closing.push(this.#network.holder);
    }
    return this.#network;
  }

  /** A client's configuration, an administrator's where nothing else is said. */
  kubeConfig(options: KubeconfigOptions = {}): KubeConfig {
    const config = new KubeConfig();
    config.loadFromString(
      kubeconfig({ server: this.url, token: this.#token, namespace: 'default', ...options }, this.certificateAuthority),
    );
    return config;
  }

  /** The same as a file, for a process that takes `KUBECONFIG`. */
  async writeKubeconfig(name: string, options: KubeconfigOptions = {}): Promise<string> {
    const file = join(this.directory, `${name}.kubeconfig`);
    await writeFile(file, this.kubeConfig(options).exportConfig());
    return file;
  }

  /** An administrator's client of an API group: `cluster.api(BatchV1Api)`. */
  api<T extends ApiType>(constructor: ApiConstructor<T>): T {
    return this.kubeConfig().makeApiClient(constructor);
  }

  /**
   * A new namespace, and its name. Disposing of it starts its deletion and waits for nothing.
   * @param labels for example of Pod Security: `{ 'pod-security.kubernetes.io/enforce': 'restricted' }`
   */
  async namespace(labels: Readonly<Record<string, string>> = {}): Promise<TestNamespace> {
    const core = this.api(CoreV1Api);
    const { metadata } = await core.createNamespace({ body: { metadata: { generateName: 'test-', labels } } });
    const name = metadata?.name ?? '';
    if (this.controllerManager !== undefined) {
      // Pods are refused before their namespace has a ServiceAccount.
      await waitFor(`ServiceAccount default in ${name}`, () => core.readNamespacedServiceAccount({ name: 'default', namespace: name }), {
        context: () => this.logTails(),
      });
    }
    return {
      name,
      [Symbol.asyncDispose]: async () => {
        await core.deleteNamespace({ name });
      },
    };
  }

  /** The ends of all logs, for messages of failed waits. */
  async logTails(): Promise<string> {
    const servers = [this.apiServer, this.controllerManager, this.scheduler, ...this.#nodes.map(({ agent }) => agent)];
    return (await Promise.all(servers.map(async (server) => await server?.logTail()))).join('\n');
  }

  /** Ends every process of the cluster, pods included, and removes its directory. */
  async [Symbol.asyncDispose](): Promise<void> {
    await closeAll(this.#closing);
  }
}

export interface TestNamespace extends AsyncDisposable {
  readonly name: string;
}
