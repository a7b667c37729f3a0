/** A model of the Hugging Face Hub, or of a mirror of it. */
import { SdxlError } from '../errors/index.js';
import { isModelFile, TransferInterrupted, type FileDigest, type RemoteFile, type RemoteModel } from './remote-model.js';

export interface HubPlace {
  /** Owner and name. */
  readonly repo: string;
  readonly revision: string;
  readonly endpoint: string;
  /** Access token. */
  readonly token: string | undefined;
}

interface Entry {
  readonly type: string;
  readonly path: string;
  readonly size: number;
  /** Git's name of the content. */
  readonly oid?: string;
  /** Of large files. `oid` is their SHA-256. */
  readonly lfs?: { readonly oid?: string };
}

export class HubModel implements RemoteModel {
  readonly name: string;
  readonly #place: HubPlace;
  readonly #revision: string;

  constructor(place: HubPlace) {
    this.#place = place;
    this.#revision = encodeURIComponent(place.revision);
    this.name = `${place.repo} at ${place.revision}`;
  }

  async list(signal: AbortSignal): Promise<readonly RemoteFile[]> {
    const { repo, endpoint } = this.#place;
    const response = await this.#request(`${endpoint}/api/models/${repo}/tree/${this.#revision}?recursive=true`, {}, signal);
    const entries = (await response.json()) as readonly Entry[];
    const files = entries.filter(({ type, path }) => type === 'file' && isModelFile(path));
    if (!files.some(({ path }) => path === 'model_index.json')) {
      throw this.#notFound('it has no model_index.json: it is no model in diffusers layout');
    }
    return files.map((entry) => ({
      path: entry.path,
      sizeBytes: entry.size,
      version: entry.lfs?.oid ?? entry.oid ?? '',
      digest: digestOf(entry),
    }));
  }

  async read(file: RemoteFile, offset: number, signal: AbortSignal): ReturnType<RemoteModel['read']> {
    const { repo, endpoint } = this.#place;
    const range: Record<string, string> = offset === 0 ? {} : { range: `bytes=${String(offset)}-` };
    const path = file.path.split('/').map(encodeURIComponent).join('/');
    const { body, status } = await this.#request(`${endpoint}/${repo}/resolve/${this.#revision}/${path}`, range, signal);
    return { start: status === 206 ? offset : 0, chunks: body ?? emptyBody() };
  }

  close(): void {
    // Connections of fetch close by themselves.
  }

  async #request(url: string, more: Readonly<Record<string, string>>, signal: AbortSignal): Promise<Response> {
    const { token } = this.#place;
    const headers = { ...more, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) };
    const response = await fetch(url, { headers, signal }).catch((cause: unknown) => {
      signal.throwIfAborted();
      throw new TransferInterrupted(`${url} can't be reached (${reasonOf(cause)})`, { cause });
    });
    if (response.ok) return response;
    await response.body?.cancel();
    const { status } = response;
    if (status >= 500 || status === 429) throw new TransferInterrupted(`${url} answered ${String(status)}`);
    const advice = status === 401 || status === 403 ? ': give a token that may read it as HF_TOKEN (model.huggingFace.tokenSecret)' : '';
    throw this.#notFound(`${url} answered ${String(status)}${advice}`);
  }

  #notFound(why: string): SdxlError {
    const { repo, revision } = this.#place;
    return new SdxlError('MODEL_NOT_FOUND', `${this.name} can't be fetched: ${why}`, { fields: { repo, revision } });
  }
}

function digestOf({ oid, lfs }: Entry): FileDigest | undefined {
  const large = lfs?.oid;
  if (large !== undefined && /^[0-9a-f]{64}$/u.test(large)) return { algorithm: 'sha256', value: large };
  return lfs === undefined && oid !== undefined && /^[0-9a-f]{40}$/u.test(oid) ? { algorithm: 'git-blob', value: oid } : undefined;
}

async function* emptyBody(): AsyncGenerator<Uint8Array> {
  // A file of no bytes.
}

/** What the system says of a connection, which `fetch` hides in a cause. */
function reasonOf(error: unknown): string {
  const { cause = error } = error as { readonly cause?: unknown };
  if (!(cause instanceof Error)) return String(cause);
  return 'code' in cause && typeof cause.code === 'string' ? cause.code : cause.message;
}
