/** What an earlier leader, or a call that failed, has left untold of what is written: it is told once this process first looks at the job, or looks again. */
import type { StoredJob } from '../api/index.js';
import { ApiError, type ApiClient } from '../kube/index.js';
import { isManaged } from './decide.js';
import { tell } from './events.js';
import { toldBy } from './told.js';

/** What happened longer ago was told by whoever was there: an operator that was killed is replaced sooner. */
const sinceMs = 600_000;

export class Untold {
  readonly #client: ApiClient;
  /** UIDs by key of the jobs of which all is told. */
  readonly #told = new Map<string, string>();

  constructor(client: ApiClient) {
    this.#client = client;
  }

  /** The job is gone, or a call for it failed after its status may have been written. */
  forget(key: string): void {
    this.#told.delete(key);
  }

  /**
   * What was told is there already, by its name.
   * @returns the error that kept it from being told, which is no reason not to do what is next
   */
  async tell(key: string, job: StoredJob, signal: AbortSignal): Promise<ApiError | undefined> {
    const { uid } = job.metadata;
    if (this.#told.get(key) === uid || !isManaged(job)) return undefined;
    const since = new Date(this.#client.clock.now().getTime() - sinceMs);
    try {
      for (const draft of toldBy(job, since)) await tell(this.#client, job, draft, signal);
    } catch (error) {
      if (error instanceof ApiError) return error.isOfEndingNamespace ? undefined : error;
      throw error;
    }
    this.#told.set(key, uid);
    return undefined;
  }
}
