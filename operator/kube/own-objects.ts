/**
 * Objects whose labels say whose they are: made and looked for by name without a right to read them, and without touching one of their name
 * that is somebody else's.
 */
import { ApiError } from './api-error.js';
import type { ApiClient } from './client.js';
import { pathOf, type KubeObject, type Resource } from './objects.js';

/** Labels that an object of ours carries. */
export type Owner = Readonly<Record<string, string>>;

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

/** Makes the object unless it is there; then it stays as it is. @throws ApiError that says so where one of its name is somebody else's */
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
    const found = await findOwn(client, resource, object, owner, signal);
    if (found === undefined) throw error;
    if (found === 'foreign') {
      const { namespace, name } = object.metadata;
      const message = `${resource.kind} ${name} exists and is not this job's: one of an earlier job of this name goes by itself; else delete it or rename it, or give the job another name`;
      throw new ApiError(message, { verb: 'PATCH', path: pathOf(resource, namespace, name), status: 422, reason: 'Invalid' }, error);
    }
    return 'existing';
  }
}

/** The object of this name as it is; undefined: there is none. Nothing is changed: the server compares. */
export async function findOwn(
  client: ApiClient,
  resource: Resource,
  { metadata: { namespace, name } }: KubeObject,
  owner: Owner,
  signal: AbortSignal,
): Promise<KubeObject | 'foreign' | undefined> {
  const body = Object.entries(owner).map(([label, value]) => ({
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
