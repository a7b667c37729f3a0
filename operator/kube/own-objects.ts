/**
 * Objects whose labels say whose they are: made and looked for by name without a right to read them, and without touching one of their name
 * that is somebody else's.
 */
import { ApiError } from './api-error.js';
import type { ApiClient } from './client.js';
import { pathOf, type KubeObject, type Resource } from './objects.js';

type Labels = Readonly<Record<string, string>>;

export interface Owner {
  /** What an object of ours carries. */
  readonly labels: Labels;
  /** What one of an earlier owner of the same name carries, which goes once that owner is gone. */
  readonly earlier: Labels;
}

const jsonPatch = 'application/json-patch+json';

/** Applies the object. @throws ApiError that says so where one of its name is somebody else's */
export async function applyOwn(
  client: ApiClient,
  resource: Resource,
  object: KubeObject,
  owner: Owner,
  signal: AbortSignal,
): Promise<void> {
  if ((await createOwn(client, resource, object, owner, signal)) === 'existing') await client.apply(resource, object, { signal });
}

/** Makes the object unless it is there; then it stays as it is. @throws ApiError that says so where one of its name is somebody else's, or is leaving */
export async function createOwn(
  client: ApiClient,
  resource: Resource,
  object: KubeObject,
  owner: Owner,
  signal: AbortSignal,
): Promise<'made' | 'existing'> {
  try {
    await client.create(resource, object, signal);
    return 'made';
  } catch (error) {
    // A quota that the object itself has used up refuses it before the server sees that it is there.
    if (!(error instanceof ApiError && (error.isExisting || error.status === 403))) throw error;
    const found = await findOwn(client, resource, object, owner.labels, signal);
    if (found === undefined) throw error;
    if (found !== 'foreign') return 'existing';
    const { namespace, name } = object.metadata;
    const fields = { verb: 'PATCH', path: pathOf(resource, namespace, name), status: 422 };
    const before = await findOwn(client, resource, object, owner.earlier, signal);
    if (before === undefined) throw error;
    if (before !== 'foreign' && isLeaving(before)) {
      throw new ApiError(
        `${resource.kind} ${name} of an earlier job of this name is being deleted`,
        { ...fields, reason: 'Leaving' },
        error,
      );
    }
    const message = `${resource.kind} ${name} exists and is not this job's: delete it or rename it, or give the job another name`;
    throw new ApiError(message, { ...fields, reason: 'Invalid' }, error);
  }
}

/** Deleted, or to be: an owner that it names is not the one of today, and so is gone. */
function isLeaving({ metadata: { deletionTimestamp, ownerReferences = [] } }: KubeObject): boolean {
  return typeof deletionTimestamp === 'string' || ownerReferences.length > 0;
}

/** The object of this name as it is; undefined: there is none. Nothing is changed: the server compares. */
export async function findOwn(
  client: ApiClient,
  resource: Resource,
  { metadata: { namespace, name } }: KubeObject,
  labels: Labels,
  signal: AbortSignal,
): Promise<KubeObject | 'foreign' | undefined> {
  const body = Object.entries(labels).map(([label, value]) => ({
    op: 'test',
    path: `/metadata/labels/${label.replaceAll('~', '~0').replaceAll('/', '~1')}`,
    value,
  }));
  const path = pathOf(resource, namespace, name);
  try {
    return await client.call<KubeObject>({ verb: 'PATCH', path, query: { dryRun: 'All' }, contentType: jsonPatch, body, signal });
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    if (error.isNotFound) return undefined;
    if (error.status === 422) return 'foreign';
    throw error;
  }
}
