/** The SdxlJobs of a test: made, changed, waited for, and what is there of what they became. */
import assert from 'node:assert/strict';
import { BatchV1Api, CoreV1Api, EventsV1Api, type V1Pod } from '@kubernetes/client-node';
import { isTrue, type JobStatus } from '../../operator/api/index.js';
import type { ApiClient } from '../../operator/kube/index.js';
import { jobWith } from '../unit/crds/invalid-jobs.js';
import { waitFor, type Cluster, type Node } from './cluster/index.js';
import { createJob, statusOf } from './operator.js';
import { offerVolume } from './sdxl-images.js';

export type Fields = Readonly<Record<string, unknown>>;

const childPaths = {
  jobs: '/apis/batch/v1',
  pods: '/api/v1',
  services: '/api/v1',
  configmaps: '/api/v1',
  secrets: '/api/v1',
  persistentvolumeclaims: '/api/v1',
  networkpolicies: '/apis/networking.k8s.io/v1',
};

/** What {@link SdxlJobs.children} finds of a job of one pod in its first attempt. */
export const childrenOfOnePod = [
  'configmaps/job-1',
  'jobs/job-1',
  'networkpolicies/job-1',
  'persistentvolumeclaims/job-output',
  'pods/job-1-0',
  'secrets/job-1',
  'services/job-1',
];

interface Named {
  readonly metadata: { readonly name: string };
}

export class SdxlJobs {
  readonly namespace: string;
  readonly #cluster: Cluster;
  readonly #client: ApiClient;
  readonly #context: () => string;
  readonly #timeoutMs: number;

  /** @param context what failed waits tell besides the job's status */
  constructor(
    cluster: Cluster,
    client: ApiClient,
    {
      namespace = 'default',
      timeoutMs = 240_000,
      context = (): string => '',
    }: { namespace?: string; timeoutMs?: number; context?: () => string } = {},
  ) {
    this.#cluster = cluster;
    this.#client = client;
    this.namespace = namespace;
    this.#timeoutMs = timeoutMs;
    this.#context = context;
  }

  /** Makes the job, and a volume where it claims one. @returns the folder of this machine its images go to */
  async create(name: string, spec: Fields = {}): Promise<string> {
    const folder = await offerVolume(this.#cluster, this.namespace, `${name}-output`);
    await createJob(this.#client, this.namespace, jobWith(spec, { name }));
    return folder;
  }

  async status(name: string): Promise<JobStatus> {
    return await statusOf(this.#client, this.namespace, name);
  }

  /** The status as soon as `reached` holds. */
  async until(name: string, what: string, reached: (status: JobStatus) => boolean): Promise<JobStatus> {
    let last: JobStatus | undefined;
    return await waitFor(
      `${what} of ${name}`,
      async () => {
        last = await this.status(name);
        return reached(last) ? last : undefined;
      },
      {
        timeoutMs: this.#timeoutMs,
        context: async () => `${JSON.stringify(last, undefined, 2)}\n${await this.#podStates(name)}\n${this.#context()}`,
      },
    );
  }

  /** The status once the job has ended for good. */
  async ended(name: string): Promise<JobStatus> {
    return await this.until(name, 'end', (status) => isTrue(status, 'Complete') || isTrue(status, 'Failed'));
  }

  /** Resolves with the job's status once it is complete; fails at once where it has failed. */
  async completed(name: string): Promise<JobStatus> {
    const status = await this.ended(name);
    assert.equal(status.phase, 'Complete', `${JSON.stringify(status, undefined, 2)}\n${this.#context()}`);
    return status;
  }

  async patch(name: string, spec: Fields): Promise<void> {
    await this.#client.call({
      verb: 'PATCH',
      path: this.#path(name),
      contentType: 'application/merge-patch+json',
      body: { spec },
      signal: AbortSignal.timeout(30_000),
    });
  }

  async delete(name: string, propagationPolicy: 'Background' | 'Foreground' = 'Background'): Promise<void> {
    const body = { apiVersion: 'v1', kind: 'DeleteOptions', propagationPolicy };
    await this.#client.call({ verb: 'DELETE', path: this.#path(name), body, signal: AbortSignal.timeout(30_000) });
  }

  async exists(name: string): Promise<boolean> {
    const { items } = await this.#client.call<{ items: readonly Named[] }>({
      verb: 'GET',
      path: this.#path(),
      signal: AbortSignal.timeout(30_000),
    });
    return items.some(({ metadata }) => metadata.name === name);
  }

  /** Everything of a job by kind and name, `job` in the stead of its name and pods without their random letters. */
  async children(name: string): Promise<readonly string[]> {
    const found: string[] = [];
    for (const [resource, prefix] of Object.entries(childPaths)) {
      const { items } = await this.#client.call<{ items: readonly Named[] }>({
        verb: 'GET',
        path: `${prefix}/namespaces/${this.namespace}/${resource}`,
        query: { labelSelector: `sdxl.io/job-name=${name}` },
        signal: AbortSignal.timeout(30_000),
      });
      for (const { metadata } of items) found.push(`${resource}/${metadata.name.replace(name, 'job').replace(/-[a-z0-9]{5}$/u, '')}`);
    }
    return found.sort();
  }

  /** Resolves once nothing of the job is left. */
  async gone(name: string): Promise<void> {
    await waitFor(
      `end of everything of ${name}`,
      async () => {
        assert.equal(await this.exists(name), false);
        assert.deepEqual(await this.children(name), []);
        return true;
      },
      { timeoutMs: this.#timeoutMs, context: this.#context },
    );
  }

  /** Pods of an attempt, by index. */
  async pods(name: string, attempt: number): Promise<readonly V1Pod[]> {
    const labelSelector = `sdxl.io/job-name=${name},sdxl.io/attempt=${String(attempt)}`;
    const { items } = await this.#cluster.api(CoreV1Api).listNamespacedPod({ namespace: this.namespace, labelSelector });
    return items.sort((a, b) => indexOf(a) - indexOf(b));
  }

  /** One pod of an attempt as soon as `reached` holds. */
  async pod(name: string, attempt: number, index: number, what: string, reached: (pod: V1Pod) => boolean): Promise<V1Pod> {
    return await waitFor(
      `${what} of pod ${String(index)} of ${name}, attempt ${String(attempt)}`,
      async () => (await this.pods(name, attempt)).find((pod) => indexOf(pod) === index && reached(pod)),
      { timeoutMs: this.#timeoutMs, intervalMs: 20, context: async () => `${await this.#podStates(name)}\n${this.#context()}` },
    );
  }

  /** UIDs of the attempts' Jobs by name. */
  async gangs(name: string): Promise<ReadonlyMap<string, string>> {
    const { items } = await this.#cluster
      .api(BatchV1Api)
      .listNamespacedJob({ namespace: this.namespace, labelSelector: `sdxl.io/job-name=${name}` });
    return new Map(items.map(({ metadata }) => [metadata?.name ?? '', metadata?.uid ?? '']));
  }

  /** Tells the stand-in ranks of an attempt, which are ready, that their time is over. */
  async finish(name: string, attempt: number): Promise<void> {
    for (const pod of await this.pods(name, attempt)) {
      const all = await this.nodeOf(pod).processes({ namespace: this.namespace, name: pod.metadata?.name ?? '' });
      const first = all.find(({ container }) => container === 'ranks');
      assert.ok(first !== undefined, `no ranks in ${pod.metadata?.name ?? ''}`);
      process.kill(first.pid, 'SIGUSR2');
    }
  }

  /** Resolves once the job's events are these, oldest first, but for those of readiness: a gang may be over before it is seen. */
  async told(name: string, ...expected: readonly string[]): Promise<void> {
    // The operator tells of a change once the status that says so is written.
    await waitFor(
      `events ${expected.join(', ')} of ${name}`,
      async () => {
        assert.deepEqual(
          (await this.events(name)).filter((reason) => reason !== 'GangReady'),
          expected,
        );
        return true;
      },
      { context: async () => `${(await this.events(name)).join(', ')}\n${this.#context()}` },
    );
  }

  /** Resolves once the job's last event is this one, or once it has such an event. */
  async toldOf(name: string, reason: string, when: 'last' | 'once' = 'once'): Promise<void> {
    await waitFor(
      `event ${reason} of ${name}`,
      async () => {
        const all = await this.events(name);
        return (when === 'last' ? all.at(-1) === reason : all.includes(reason)) || undefined;
      },
      { context: async () => `${(await this.events(name)).join(', ')}\n${this.#context()}` },
    );
  }

  /** Reasons of the job's events so far, oldest first. */
  async events(name: string): Promise<readonly string[]> {
    const { items } = await this.#cluster.api(EventsV1Api).listNamespacedEvent({ namespace: this.namespace });
    return items
      .filter(({ regarding }) => regarding?.kind === 'SdxlJob' && regarding.name === name)
      .sort((a, b) => Number(a.metadata?.resourceVersion) - Number(b.metadata?.resourceVersion))
      .map(({ reason }) => reason ?? '');
  }

  /** The node a pod runs on. */
  nodeOf({ spec }: V1Pod): Node {
    const node = this.#cluster.nodes.find(({ name }) => name === spec?.nodeName);
    assert(node !== undefined, `no node ${spec?.nodeName ?? ''}`);
    return node;
  }

  /** Process ids of a pod's launcher and its ranks in their order, once all have said who they are. */
  async processes(pod: V1Pod, count: number): Promise<{ readonly launcher: number; readonly ranks: readonly number[] }> {
    const { namespace = '', name = '' } = pod.metadata ?? {};
    return await waitFor(
      `${String(count)} ranks in ${name}`,
      async () => {
        const all = (await this.nodeOf(pod).processes({ namespace, name })).filter(({ container }) => container === 'ranks');
        const ranks = all
          .map(({ pid, args }) => ({ pid, rank: /^sdxl rank (\d+)\//u.exec(args[0] ?? '')?.[1] }))
          .filter(({ rank }) => rank !== undefined)
          .sort((a, b) => Number(a.rank) - Number(b.rank));
        const [launcher] = all;
        return launcher !== undefined && ranks.length === count
          ? { launcher: launcher.pid, ranks: ranks.map(({ pid }) => pid) }
          : undefined;
      },
      { timeoutMs: 60_000, intervalMs: 20, context: async () => `${await this.#podStates(name)}\n${this.#context()}` },
    );
  }

  #path(name?: string): string {
    const path = `/apis/sdxl.io/v1alpha1/namespaces/${this.namespace}/sdxljobs`;
    return name === undefined ? path : `${path}/${name}`;
  }

  async #podStates(name: string): Promise<string> {
    const { items } = await this.#cluster
      .api(CoreV1Api)
      .listNamespacedPod({ namespace: this.namespace, labelSelector: `sdxl.io/job-name=${name}` });
    return JSON.stringify(
      items.map(({ metadata, spec, status }) => ({ name: metadata?.name, node: spec?.nodeName, status })),
      undefined,
      1,
    );
  }
}

function indexOf({ metadata }: V1Pod): number {
  return Number(metadata?.labels?.['batch.kubernetes.io/job-completion-index']);
}
