/**
 * Parses and checks the header of a safetensors file. Format: the safetensors project's README, "Format": 8 bytes little-endian
 * header length, that many bytes of JSON, then the tensors' bytes without gap or overlap.
 */
import type { DType } from '../tensor/index.js';
import { damagedFileAdvice, describeShape, weightsError } from './weights-error.js';

/** Element types of the format, their size, and the runtime's name where tensors of that type can be used. */
export const safetensorsDTypes = {
  BOOL: { sizeBytes: 1 },
  U8: { sizeBytes: 1 },
  I8: { sizeBytes: 1 },
  F8_E5M2: { sizeBytes: 1 },
  F8_E4M3: { sizeBytes: 1 },
  I16: { sizeBytes: 2 },
  U16: { sizeBytes: 2 },
  F16: { sizeBytes: 2, tensor: 'f16' },
  BF16: { sizeBytes: 2, tensor: 'bf16' },
  I32: { sizeBytes: 4, tensor: 'i32' },
  U32: { sizeBytes: 4 },
  F32: { sizeBytes: 4, tensor: 'f32' },
  F64: { sizeBytes: 8 },
  I64: { sizeBytes: 8, tensor: 'i64' },
  U64: { sizeBytes: 8 },
} as const satisfies Record<string, { readonly sizeBytes: number; readonly tensor?: DType }>;
export type SafetensorsDType = keyof typeof safetensorsDTypes;

/** Where one tensor lies: `offset` is absolute in the file. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  readonly offset: number;
  readonly sizeBytes: number;
}

export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Length of the prefix that holds the header's length. */
export const lengthPrefixBytes = 8;
/** The reference implementation's own bound: a larger length is damage, not a header. */
const maxHeaderBytes = 100_000_000;

/** The header's length in bytes, from the file's first 8 bytes. */
export function parseHeaderLength(file: string, prefix: Uint8Array, fileBytes: number): number {
  if (prefix.byteLength < lengthPrefixBytes) {
    throw weightsError({
      file,
      expected: `a safetensors file of at least ${String(lengthPrefixBytes)} bytes`,
      found: `${String(prefix.byteLength)} bytes`,
      advice: damagedFileAdvice,
    });
  }
  const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
  const most = BigInt(Math.min(maxHeaderBytes, fileBytes - lengthPrefixBytes));
  if (length < 2n || length > most) {
    throw weightsError({
      file,
      expected: `a header of 2 to ${most.toString()} bytes`,
      found: `a header length of ${length.toString()}`,
      advice: isLfsPointer(prefix)
        ? 'it is a pointer of Git LFS, not the file itself: fetch that with `git lfs pull`'
        : `${damagedFileAdvice}, or it is no safetensors file`,
    });
  }
  return Number(length);
}

/** What a clone without Git LFS leaves in place of a large file: `version https://git-lfs.github.com/spec/v1`. */
function isLfsPointer(prefix: Uint8Array): boolean {
  return new TextDecoder().decode(prefix) === 'version ';
}

/** Checks the JSON against the file's size. Every rule names the tensor, what was expected and what was found. */
export function parseHeader(file: string, json: Uint8Array, fileBytes: number): SafetensorsHeader {
  const dataStart = lengthPrefixBytes + json.byteLength;
  const document = parseDocument(file, json);
  const tensors = new Map<string, TensorEntry>();
  let metadata: Readonly<Record<string, string>> = {};
  for (const [name, value] of Object.entries(document)) {
    if (name === '__metadata__') metadata = parseMetadata(file, value);
    else tensors.set(name, parseEntry(file, name, value, dataStart));
  }
  checkLayout(file, tensors, dataStart, fileBytes);
  return { tensors, metadata };
}

function parseDocument(file: string, json: Uint8Array): Readonly<Record<string, unknown>> {
  let text: string;
  let document: unknown;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(json);
    document = JSON.parse(text);
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    throw weightsError({ file, expected: 'a JSON header in UTF-8', found, advice: damagedFileAdvice, cause });
  }
  if (!isRecord(document)) {
    throw weightsError({ file, expected: 'a JSON object as header', found: typeof document, advice: damagedFileAdvice });
  }
  const duplicate = duplicateKey(text);
  if (duplicate !== undefined) {
    throw weightsError({
      file,
      tensor: duplicate,
      expected: 'each tensor once in the header',
      found: 'it twice',
      advice: damagedFileAdvice,
    });
  }
  return document;
}

/** The first key that a valid JSON object holds twice at its top level; JSON.parse would silently keep the last. */
function duplicateKey(text: string): string | undefined {
  const seen = new Set<string>();
  let depth = 0;
  for (const match of text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]/g)) {
    const [token, colon] = match;
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    else if (depth === 1 && colon !== undefined) {
      const key = String(JSON.parse(token.slice(0, token.lastIndexOf('"') + 1)));
      if (seen.has(key)) return key;
      seen.add(key);
    }
  }
  return undefined;
}

function parseMetadata(file: string, value: unknown): Readonly<Record<string, string>> {
  const metadata: Record<string, string> = {};
  for (const [key, entry] of Object.entries(isRecord(value) ? value : { '': value })) {
    if (typeof entry !== 'string') {
      const found = `${key} of type ${typeof entry}`;
      throw weightsError({ file, expected: 'strings in __metadata__', found, advice: damagedFileAdvice });
    }
    metadata[key] = entry;
  }
  return metadata;
}

function parseEntry(file: string, tensor: string, value: unknown, dataStart: number): TensorEntry {
  const fail = (expected: string, found: unknown): never => {
    throw weightsError({
      file,
      tensor,
      expected,
      found: found === undefined ? 'nothing' : shown(found),
      advice: damagedFileAdvice,
    });
  };
  if (!isRecord(value)) return fail('an object with dtype, shape and data_offsets', value);
  const { dtype, shape, data_offsets: offsets, ...rest } = value;
  const extra = Object.keys(rest);
  if (extra.length > 0) return fail('no field but dtype, shape and data_offsets', extra);
  if (!isDType(dtype)) return fail(`a dtype of ${Object.keys(safetensorsDTypes).join(', ')}`, dtype);
  if (!isSizes(shape)) return fail('a shape of non-negative integers', shape);
  if (!isSizes(offsets) || offsets.length !== 2) return fail('two data_offsets that are non-negative integers', offsets);
  const [begin = 0, end = 0] = offsets;
  const sizeBytes = shape.reduce((product, dim) => product * dim, safetensorsDTypes[dtype].sizeBytes);
  if (end - begin !== sizeBytes) {
    return fail(`${String(sizeBytes)} bytes for ${dtype} ${describeShape(shape)}`, offsets);
  }
  return { name: tensor, dtype, shape, offset: dataStart + begin, sizeBytes };
}

/** The beginning of a value that may be of any length and depth. */
function shown(value: unknown): string {
  let text: string;
  try {
    text = JSON.stringify(value);
  } catch {
    // JSON is parsed to depths that it can't be written from.
    return 'a value nested too deep to be shown';
  }
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}

/** Tensors must cover the data from its first to its last byte, each byte once. */
function checkLayout(file: string, tensors: ReadonlyMap<string, TensorEntry>, dataStart: number, fileBytes: number): void {
  const ordered = [...tensors.values()].sort((a, b) => a.offset - b.offset || a.sizeBytes - b.sizeBytes);
  let next = dataStart;
  for (const { name: tensor, offset, sizeBytes } of ordered) {
    if (offset !== next) {
      throw weightsError({
        file,
        tensor,
        expected: `its data at byte ${String(next)}, right after the tensor before it`,
        found: `${offset < next ? 'an overlap' : 'a gap'}: it starts at byte ${String(offset)}`,
        advice: damagedFileAdvice,
      });
    }
    next = offset + sizeBytes;
    if (next > fileBytes) {
      throw weightsError({
        file,
        tensor,
        expected: `its data up to byte ${String(next)}`,
        found: `a file of ${String(fileBytes)} bytes`,
        advice: damagedFileAdvice,
      });
    }
  }
  if (next !== fileBytes) {
    throw weightsError({
      file,
      expected: `${String(next)} bytes, as the header says`,
      found: `a file of ${String(fileBytes)} bytes`,
      advice: damagedFileAdvice,
    });
  }
}

function isDType(value: unknown): value is SafetensorsDType {
  return typeof value === 'string' && Object.hasOwn(safetensorsDTypes, value);
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((item) => Number.isSafeInteger(item) && Number(item) >= 0);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
