/** What an earlier leader, or a call that failed, has left untold of what is written: it is told once this process first looks at the job, or looks again. */
import type { StoredJob } from '../api/index.js';
import { ApiError, type ApiClient } from '../kube/index.js';
import { isManaged } from './decide.js';
import { tell } from './events.js';
import { toldBy } from './told.js';

/** What happened longer ago was told by whoever was there: an operator that was killed is replaced sooner. */
const sinceMs = 600_000;
/** Where other calls have left no room for it. */
const againMs = 2_000;

interface Outcome {
  /** What kept it from being told, which is no reason not to do what is next. */
  readonly error?: ApiError;
  /** It is still to be told, then. */
  readonly againMs?: number;
}

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

  /** What was told is there already, by its name. Most of it is: whoever takes over many jobs does what is new first. */
  async tell(key: string, job: StoredJob, signal: AbortSignal): Promise<Outcome> {
    const { uid } = job.metadata;
    if (this.#told.get(key) === uid || !isManaged(job)) return {};
    const since = new Date(this.#client.clock.now().getTime() - sinceMs);
    const drafts = toldBy(job, since);
    if (drafts.length > 0 && !this.#client.limiter.hasRoom) return { againMs };
    try {
      for (const draft of drafts) await tell(this.#client, job, draft, signal);
    } catch (error) {
      if (error instanceof ApiError) return error.isOfEndingNamespace ? {} : { error };
      throw error;
    }
    this.#told.set(key, uid);
    return {};
  }
}
