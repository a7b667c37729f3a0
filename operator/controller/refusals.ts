/**
 * Why the Job controller makes no pods: it says so in events, which are not watched. Servers find an event by nothing but its namespace, so one
 * list serves all jobs of a namespace for a while; with thousands of jobs that wait, a list for each would keep the server from all else.
 */
import { pathOf, resources, type ApiClient } from '../kube/index.js';

interface Told {
  readonly askedAt: number;
  /** Last message by the UID of the Job it is about; never rejects. */
  readonly messages: Promise<ReadonlyMap<string, string>>;
}

interface EventPage {
  readonly metadata: { readonly continue?: string };
  readonly items: readonly {
    readonly message?: string;
    readonly lastTimestamp?: string | null;
    readonly involvedObject: { readonly uid?: string };
  }[];
}

const freshMs = 4_000;
const forgottenMs = 300_000;
const pageSize = 500;

export class Refusals {
  readonly #client: ApiClient;
  readonly #told = new Map<string, Told>();

  constructor(client: ApiClient) {
    this.#client = client;
  }

  /** The last word on the Job with this UID, a few seconds old at most; undefined: none. */
  async of(namespace: string, uid: string, signal: AbortSignal): Promise<string | undefined> {
    const now = performance.now();
    for (const [name, { askedAt }] of this.#told) if (now - askedAt > forgottenMs) this.#told.delete(name);
    const before = this.#told.get(namespace);
    if (before !== undefined && now - before.askedAt < freshMs) return (await before.messages).get(uid);
    // A server too busy to say why is asked again later; what it said before stays, and the job goes its way.
    const messages = this.#list(namespace, signal).catch(async () => (await before?.messages) ?? new Map<string, string>());
    this.#told.set(namespace, { askedAt: now, messages });
    return (await messages).get(uid);
  }

  async #list(namespace: string, signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
    const last = new Map<string, { readonly at: string; readonly message: string }>();
    let page: string | undefined;
    do {
      const list: EventPage = await this.#client.call({
        verb: 'GET',
        path: pathOf(resources.coreEvent, namespace),
        query: { fieldSelector: 'involvedObject.kind=Job,reason=FailedCreate', limit: pageSize, continue: page },
        signal,
      });
      for (const { message = '', lastTimestamp, involvedObject } of list.items) {
        const { uid = '' } = involvedObject;
        const at = lastTimestamp ?? '';
        if (at >= (last.get(uid)?.at ?? '')) last.set(uid, { at, message });
      }
      page = list.metadata.continue === '' ? undefined : list.metadata.continue;
    } while (page !== undefined);
    return new Map([...last].map(([uid, { message }]) => [uid, message]));
  }
}
