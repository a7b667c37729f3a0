/** The JSON beside an image: what it was made from, and the digest that ties it to the very file it describes. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { jsonKeyword, parametersAsJson, type ImageParameters, type JsonValue } from './parameters.js';

export type ImageRecord = Readonly<Record<string, JsonValue>>;

/** `output.png` → `output.json`. */
export function sidecarPath(path: string): string {
  return `${path.replace(/\.png$/i, '')}.json`;
}

/** The record of an image whose encoded bytes are `png`. */
export function makeRecord(path: string, png: Uint8Array, parameters: ImageParameters): ImageRecord {
  return { file: basename(path), sha256: sha256(png), ...parametersAsJson(parameters) };
}

/**
 * The record of the image at `path`, or undefined where image and record are not a pair: one is missing, unreadable, cut short, or
 * of another run.
 */
export async function readRecord(path: string): Promise<ImageRecord | undefined> {
  const found = await readSidecar(path);
  if (found?.kind !== 'record') return undefined;
  const png = await readFile(path).catch(() => undefined);
  return png !== undefined && found.record['sha256'] === sha256(png) ? found.record : undefined;
}

/**
 * Whether a file of the record's name exists that is somebody else's and must not be replaced: what is no record, unless it stands
 * beside an image of ours, whose damaged record it then is. A Kubernetes object never is.
 */
export async function isForeignSidecar(path: string): Promise<boolean> {
  const found = await readSidecar(path);
  if (found === undefined || found.kind === 'record') return false;
  return found.kind === 'object' || !(await isOurImage(path));
}

async function isOurImage(path: string): Promise<boolean> {
  const png = await readFile(path).catch(() => undefined);
  return png?.includes(`${jsonKeyword}\0`) === true;
}

/** What stands in a file, or an object, of a record's name. */
export type Sidecar = { readonly kind: 'record'; readonly record: ImageRecord } | { readonly kind: 'object' | 'other' };

async function readSidecar(path: string): Promise<Sidecar | undefined> {
  const text = await readFile(sidecarPath(path), 'utf8').catch(() => undefined);
  return text === undefined ? undefined : parseSidecar(text);
}

export function parseSidecar(text: string): Sidecar {
  try {
    const value: unknown = JSON.parse(text);
    if (isRecord(value)) return { kind: 'record', record: value };
    return { kind: typeof value === 'object' && value !== null && 'apiVersion' in value ? 'object' : 'other' };
  } catch {
    // Not JSON at all.
    return { kind: 'other' };
  }
}

function isRecord(value: unknown): value is ImageRecord {
  return typeof value === 'object' && value !== null && 'file' in value && 'prompt' in value && 'numInferenceSteps' in value;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
