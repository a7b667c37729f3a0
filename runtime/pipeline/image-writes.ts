/** Writes beside the work: what images of a job are written, while the next ones are made. */
import { setTimeout as delay } from 'node:timers/promises';

/** A disk that answers nobody shall not keep a rank from telling its peers what has happened. */
const giveUpMs = 5_000;

/**
 * Images that are written, or uploaded, while the next ones are made. Two at most are under way: one beside the making of the next image, and that
 * one from the moment it is made, so that no image waits in memory only. Whoever makes images waits before a third.
 */
export class ImageWrites {
  /** Aborted with what ended the work, or with what the first write failed with: neither goes on without the other. */
  readonly signal: AbortSignal;
  readonly #stop = new AbortController();
  readonly #outer: AbortSignal | undefined;
  readonly #aborted: Promise<unknown>;
  readonly #underWay = new Set<Promise<void>>();

  /** `outer` ends the work. */
  constructor(outer: AbortSignal | undefined) {
    this.#outer = outer;
    this.signal = outer === undefined ? this.#stop.signal : AbortSignal.any([outer, this.#stop.signal]);
    this.#aborted = new Promise((resolve) => {
      this.signal.addEventListener('abort', resolve, { once: true });
    });
  }

  get busy(): boolean {
    return this.#underWay.size > 0;
  }

  /** `write` ends soon after {@link signal} is aborted. */
  begin(write: () => Promise<void>): void {
    const written = write()
      .catch((reason: unknown) => {
        this.#fail(reason);
      })
      .finally(() => this.#underWay.delete(written));
    this.#underWay.add(written);
  }

  /** Resolves once no more than `count` are under way; rejects with what failed. */
  async atMost(count: 0 | 1): Promise<void> {
    while (this.#underWay.size > count && !this.signal.aborted) await Promise.race([...this.#underWay, this.#aborted]);
    this.signal.throwIfAborted();
  }

  /** Gives up what is under way, and waits for its end, up to some seconds. @returns what failed first, `reason` or a write */
  async giveUp(reason: unknown): Promise<unknown> {
    this.#fail(reason);
    const ended = new AbortController();
    const overdue = delay(giveUpMs, undefined, { signal: ended.signal }).catch(() => undefined); // Ended in time.
    await Promise.race([Promise.all(this.#underWay), overdue]);
    ended.abort();
    return this.#stop.signal.reason;
  }

  /** What a write says that was stopped is no news. */
  #fail(reason: unknown): void {
    this.#stop.abort(this.#outer?.aborted === true ? this.#outer.reason : reason);
  }
}
