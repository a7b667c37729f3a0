/**
 * A cache of all objects of one kind, kept by list and watch. It never gives up: a watch that ends is resumed where it stood, one whose place is
 * too old to be known (410) starts from a new list, a server that does not answer is asked again with growing waits. Objects are projected to
 * what the operator reads before they are kept. Handlers are told keys only: what to do follows from the cache, never from an event.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { ApiError } from './api-error.js';
import { backoffMs } from './backoff.js';
import type { ApiClient } from './client.js';
import { keyOf, pathOf, type KubeList, type KubeObject, type Resource, type WatchEvent } from './objects.js';

export interface InformerOptions<T extends KubeObject> {
  readonly client: ApiClient;
  readonly resource: Resource;
  /** Undefined: all namespaces. */
  readonly namespace: string | undefined;
  readonly labelSelector?: string;
  /** What is kept of an object. */
  readonly project: (object: KubeObject) => T;
  /** An object came, changed or went. Must not throw. */
  readonly onChange: (object: T, change: 'set' | 'deleted') => void;
  /** Objects are found by this value too. */
  readonly indexBy?: (object: T) => string | undefined;
  readonly onRestart?: (reason: RestartReason, error: unknown) => void;
  readonly pageSize?: number;
  /** A watch without a byte for so long is given up. Servers send a bookmark every minute. */
  readonly stallMs?: number;
}

export type RestartReason = 'ended' | 'expired' | 'error';

const retry = { firstMs: 250, maxMs: 30_000 };
/** Servers end a watch after this time; with jitter so that not all end at once. */
const watchSeconds = 300;
/** A watch that lasted so long had nothing wrong with it. */
const healthyMs = 5_000;

export class Informer<T extends KubeObject> {
  readonly #options: InformerOptions<T>;
  readonly #objects = new Map<string, T>();
  readonly #index = new Map<string, Set<string>>();
  readonly #filled: Promise<void>;
  #onFilled: () => void = () => undefined;
  #resourceVersion: string | undefined;
  #synced = false;
  #heardAt = Date.now();
  #heardTime = performance.now();

  constructor(options: InformerOptions<T>) {
    this.#options = options;
    this.#filled = new Promise((resolve) => {
      this.#onFilled = resolve;
    });
  }

  /** Whether the first list is complete. */
  get synced(): boolean {
    return this.#synced;
  }

  /** Resolves when the first list is complete. */
  get filled(): Promise<void> {
    return this.#filled;
  }

  /** When the server was last heard of, in milliseconds since 1970. */
  get heardAt(): number {
    return this.#heardAt;
  }

  /** For how long the server has not been heard of. */
  get silentMs(): number {
    return performance.now() - this.#heardTime;
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: string): T | undefined {
    return this.#objects.get(key);
  }

  values(): IterableIterator<T> {
    return this.#objects.values();
  }

  indexed(value: string): T[] {
    return [...(this.#index.get(value) ?? [])].flatMap((key) => this.#objects.get(key) ?? []);
  }

  /** Takes the answer to a write into the cache, so that the next look does not find what was before it. */
  absorb(object: KubeObject): void {
    const known = this.#objects.get(keyOf(object));
    if (known !== undefined && known.metadata.uid === object.metadata.uid && isNewer(object, known))
      this.#set(this.#options.project(object));
  }

  /** Lists and watches until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    let failures = 0;
    let before: RestartReason | undefined;
    while (!signal.aborted) {
      const started = performance.now();
      try {
        if (this.#resourceVersion === undefined) await this.#list(signal);
        await this.#watch(signal);
        failures = performance.now() - started < healthyMs ? failures + 1 : 0;
        before = 'ended';
        this.#options.onRestart?.('ended', undefined);
      } catch (error) {
        if (isOver(signal)) return;
        failures = performance.now() - started < healthyMs ? failures + 1 : 1;
        const expired = error instanceof ApiError && error.isExpired;
        if (expired) this.#resourceVersion = undefined;
        const reason = expired ? 'expired' : 'error';
        this.#options.onRestart?.(reason, error);
        // A new list may be made at once; if that is of no use either, not again and again.
        const again = expired && before !== 'expired';
        before = reason;
        if (again) continue;
        const asked = error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;
        await delay(Math.max(asked, backoffMs(failures, retry)), undefined, { signal }).catch(() => undefined);
        continue;
      }
      if (failures > 1) await delay(backoffMs(failures, retry), undefined, { signal }).catch(() => undefined);
    }
  }

  async #list(signal: AbortSignal): Promise<void> {
    const { client, resource, namespace, labelSelector, pageSize = 200 } = this.#options;
    const listed = new Map<string, T>();
    let page: string | undefined;
    let version: string | undefined;
    do {
      const list: KubeList = await client.call({
        verb: 'GET',
        path: pathOf(resource, namespace),
        query: { limit: pageSize, continue: page, labelSelector },
        signal,
      });
      for (const item of list.items ?? []) listed.set(keyOf(item), this.#options.project(item));
      version = list.metadata.resourceVersion;
      page = list.metadata.continue === '' ? undefined : list.metadata.continue;
    } while (page !== undefined);
    this.#heard();
    for (const [key, object] of this.#objects) if (listed.get(key)?.metadata.uid !== object.metadata.uid) this.#remove(object);
    for (const object of listed.values()) this.#set(object);
    this.#resourceVersion = version;
    this.#synced = true;
    this.#onFilled();
  }

  async #watch(signal: AbortSignal): Promise<void> {
    const { client, resource, namespace, labelSelector, stallMs = 150_000 } = this.#options;
    const query = {
      watch: 'true',
      allowWatchBookmarks: 'true',
      resourceVersion: this.#resourceVersion,
      timeoutSeconds: Math.round(watchSeconds * (1 + Math.random())),
      labelSelector,
    };
    let rest = '';
    for await (const chunk of client.stream({ verb: 'GET', path: pathOf(resource, namespace), query, signal }, stallMs)) {
      this.#heard();
      const lines = (rest + chunk).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line !== '') this.#take(JSON.parse(line) as WatchEvent);
    }
  }

  #heard(): void {
    this.#heardAt = Date.now();
    this.#heardTime = performance.now();
  }

  #take(event: WatchEvent): void {
    if (event.type === 'ERROR') {
      const { code, reason, message } = event.object;
      throw new ApiError(message ?? reason ?? 'error', { verb: 'WATCH', path: this.#options.resource.plural, status: code, reason });
    }
    if (event.type === 'DELETED') {
      const known = this.#objects.get(keyOf(event.object));
      if (known?.metadata.uid === event.object.metadata.uid && known !== undefined) this.#remove(known);
    } else if (event.type !== 'BOOKMARK') {
      this.#set(this.#options.project(event.object));
    }
    this.#resourceVersion = event.object.metadata.resourceVersion ?? this.#resourceVersion;
  }

  #set(object: T): void {
    const key = keyOf(object);
    const known = this.#objects.get(key);
    if (known !== undefined) {
      if (known.metadata.uid === object.metadata.uid && !isNewer(object, known)) return;
      this.#unindex(key, known);
    }
    this.#objects.set(key, object);
    const value = this.#options.indexBy?.(object);
    if (value !== undefined) {
      const keys = this.#index.get(value);
      if (keys === undefined) this.#index.set(value, new Set([key]));
      else keys.add(key);
    }
    this.#options.onChange(object, 'set');
  }

  #remove(object: T): void {
    const key = keyOf(object);
    this.#objects.delete(key);
    this.#unindex(key, object);
    this.#options.onChange(object, 'deleted');
  }

  #unindex(key: string, object: T): void {
    const value = this.#options.indexBy?.(object);
    if (value === undefined) return;
    const keys = this.#index.get(value);
    keys?.delete(key);
    if (keys?.size === 0) this.#index.delete(value);
  }
}

/** Asked anew: it may have aborted while something was awaited. */
function isOver({ aborted }: AbortSignal): boolean {
  return aborted;
}

/** Versions of one kind are ordered numbers (KEP-5504); where they are not, the later to arrive counts. */
function isNewer(object: KubeObject, known: KubeObject): boolean {
  const [a, b] = [object.metadata.resourceVersion ?? '', known.metadata.resourceVersion ?? ''];
  if (!/^\d+$/u.test(a) || !/^\d+$/u.test(b)) return a !== b;
  return a.length === b.length ? a > b : a.length > b.length;
}
