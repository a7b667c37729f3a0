/** What the API server itself can do: the same objects, applied by the same client as fast as it goes, without an operator. */
import { randomUUID } from 'node:crypto';
import { storedJob, type StoredJob } from '../../operator/api/index.js';
import { pathOf, type ApiClient } from '../../operator/kube/index.js';
import { attemptChildren } from '../../operator/resources/index.js';

/** Runs `work` for 0 … count-1, so many at a time; @returns seconds. */
export async function inLanes(count: number, lanes: number, work: (index: number) => Promise<void>): Promise<number> {
  const started = performance.now();
  const indices = Array.from({ length: count }, (_, index) => index).values();
  await Promise.all(
    Array.from({ length: lanes }, async () => {
      for (const index of indices) await work(index);
    }),
  );
  return (performance.now() - started) / 1000;
}

/** Applies the children of `count` jobs, which no operator takes for its own. @returns seconds, and objects of each job */
export async function applyRaw(
  client: ApiClient,
  stored: StoredJob,
  namespace: string,
  count: number,
  lanes: number,
): Promise<{ seconds: number; each: number }> {
  const settings = { runtimeImage: 'runtime', acceleratorImage: 'runtime', tokenKey: Buffer.alloc(32) };
  let each = 0;
  const seconds = await inLanes(count, lanes, async (index) => {
    const job = storedJob({ ...stored, metadata: { ...stored.metadata, namespace, name: `raw-${String(index)}`, uid: randomUUID() } });
    const children = attemptChildren(job, 1, settings, new Date());
    each = children.length;
    for (const { resource, object } of children) {
      const labels = { ...object.metadata.labels, 'app.kubernetes.io/managed-by': 'nobody' };
      await client.apply(resource, { ...object, metadata: { ...object.metadata, labels } }, { signal: AbortSignal.timeout(60_000) });
    }
  });
  return { seconds, each };
}

/** How many objects of a kind a namespace has. */
export async function countOf(client: ApiClient, resource: Parameters<typeof pathOf>[0], namespace: string): Promise<number> {
  const list = await client.call<{ readonly items: readonly unknown[]; readonly metadata: { readonly remainingItemCount?: number } }>({
    verb: 'GET',
    path: pathOf(resource, namespace),
    query: { limit: 1 },
    signal: AbortSignal.timeout(60_000),
  });
  return list.items.length + (list.metadata.remainingItemCount ?? 0);
}
