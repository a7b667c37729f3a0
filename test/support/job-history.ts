/** Every state that SdxlJobs went through, as a watch tells of it. */
import type { JobPhase, JobProgress } from '../../operator/api/index.js';
import { ApiError, type ApiClient, type KubeObject } from '../../operator/kube/index.js';
import type { CustomResource } from './kstatus.js';

export interface JobState extends CustomResource {
  readonly metadata: CustomResource['metadata'] & { readonly name: string };
  readonly status?: NonNullable<CustomResource['status']> & { readonly phase?: JobPhase; readonly progress?: JobProgress };
}

const path = '/apis/sdxl.io/v1alpha1/sdxljobs';

export class JobHistory implements AsyncDisposable {
  readonly states: JobState[] = [];
  readonly #end = new AbortController();
  #following: Promise<void> = Promise.resolve();

  static async start(client: ApiClient): Promise<JobHistory> {
    const history = new JobHistory();
    const { metadata } = await client.call<{ metadata: { resourceVersion: string } }>({ verb: 'GET', path, signal: history.#end.signal });
    history.#following = history.#follow(client, metadata.resourceVersion);
    return history;
  }

  async #follow(client: ApiClient, resourceVersion: string): Promise<void> {
    const { signal } = this.#end;
    let rest = '';
    try {
      for await (const chunk of client.stream({ verb: 'GET', path, query: { watch: 'true', resourceVersion }, signal }, 600_000)) {
        const lines = (rest + chunk).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) {
          const { type, object } = JSON.parse(line) as { readonly type: string; readonly object: KubeObject & JobState };
          if (type === 'ADDED' || type === 'MODIFIED') this.states.push(object);
        }
      }
    } catch (error) {
      if (!signal.aborted && !(error instanceof ApiError)) throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#end.abort();
    await this.#following;
  }
}
