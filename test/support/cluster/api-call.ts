/** What a request asks of an API server. */

export type Verb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection' | 'other';

export interface ApiCall {
  readonly verb: Verb;
  /** Empty for the core group. */
  readonly group: string;
  /** Plural: `jobs`; empty where the path names none, as that of discovery. */
  readonly resource: string;
  /** `status`, for example; empty for the object itself. */
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  readonly method: string;
  /** With its query. */
  readonly path: string;
}

/** A call as it went. */
export interface FinishedCall extends ApiCall {
  /** Undefined where the client got no answer. */
  readonly status: number | undefined;
  readonly isInjected: boolean;
}

/** Every field that is given must be equal. */
export type CallPattern = Partial<Pick<ApiCall, 'verb' | 'group' | 'resource' | 'subresource' | 'namespace' | 'name'>> & {
  /** True: calls that write. */
  readonly isMutating?: boolean;
};

export function parseApiCall(method: string, path: string): ApiCall {
  const url = new URL(path, 'https://localhost');
  const parts = url.pathname.split('/').filter((part) => part !== '');
  const isCore = parts[0] === 'api';
  const group = isCore ? '' : (parts[1] ?? '');
  let rest = parts[0] === 'api' || parts[0] === 'apis' ? parts.slice(isCore ? 2 : 3) : [];
  let namespace = '';
  // `namespaces/x/status` is of the Namespace itself.
  if (rest[0] === 'namespaces' && rest.length > 2 && !['status', 'finalize'].includes(rest[2] ?? '')) {
    namespace = rest[1] ?? '';
    rest = rest.slice(2);
  }
  const [resource = '', name = '', subresource = ''] = rest;
  return { verb: verbOf(method, resource, name, url.searchParams), group, resource, subresource, namespace, name, method, path };
}

function verbOf(method: string, resource: string, name: string, query: URLSearchParams): Verb {
  if (resource === '') return 'other';
  switch (method) {
    case 'GET':
      if (['true', '1'].includes(query.get('watch') ?? '')) return 'watch';
      return name === '' ? 'list' : 'get';
    case 'POST':
      return 'create';
    case 'PUT':
      return 'update';
    case 'PATCH':
      return 'patch';
    case 'DELETE':
      return name === '' ? 'deletecollection' : 'delete';
    default:
      return 'other';
  }
}

function isMutating({ verb }: ApiCall): boolean {
  return ['create', 'update', 'patch', 'delete', 'deletecollection'].includes(verb);
}

export function matches(call: ApiCall, { isMutating: mutating, ...fields }: CallPattern): boolean {
  if (mutating !== undefined && mutating !== isMutating(call)) return false;
  return Object.entries(fields).every(([field, value]) => call[field as keyof typeof fields] === value);
}
