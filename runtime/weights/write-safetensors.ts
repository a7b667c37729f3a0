/** A streaming safetensors writer: for tests, and for scripts that make random weights larger than memory. */
import { randomUUID } from 'node:crypto';
import { open, rename, rm } from 'node:fs/promises';
import { elementCount } from '../tensor/index.js';
import { lengthPrefixBytes, safetensorsDTypes, type SafetensorsDType } from './safetensors-header.js';

export interface TensorToWrite {
  readonly name: string;
  readonly dtype: SafetensorsDType;
  readonly shape: readonly number[];
  /** The tensor's bytes, whole or in pieces that are asked for when their turn comes. */
  readonly data: Uint8Array | (() => Iterable<Uint8Array> | AsyncIterable<Uint8Array>);
}

/** Writes the tensors in the order given; the file appears under its name only when complete. */
export async function writeSafetensors(
  path: string,
  tensors: readonly TensorToWrite[],
  metadata: Readonly<Record<string, string>> = { format: 'pt' },
): Promise<void> {
  // Ranks in different containers may have the same process id.
  const temporary = `${path}.${randomUUID()}.tmp`;
  const handle = await open(temporary, 'w');
  try {
    try {
      await handle.writeFile(header(tensors, metadata));
      for (const tensor of tensors) {
        let written = 0;
        const pieces = tensor.data instanceof Uint8Array ? [tensor.data] : tensor.data();
        for await (const piece of pieces) {
          written += piece.byteLength;
          await handle.writeFile(piece);
        }
        const size = sizeOf(tensor);
        if (written !== size) throw new RangeError(`"${tensor.name}" needs ${String(size)} bytes, got ${String(written)}`);
      }
    } finally {
      await handle.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}

function sizeOf(tensor: TensorToWrite): number {
  return elementCount(tensor.shape) * safetensorsDTypes[tensor.dtype].sizeBytes;
}

/** Length prefix and JSON, padded with spaces so that the data starts at a multiple of 8. */
function header(tensors: readonly TensorToWrite[], metadata: Readonly<Record<string, string>>): Uint8Array {
  const entries: [string, unknown][] = [['__metadata__', metadata]];
  let begin = 0;
  for (const tensor of tensors) {
    const end = begin + sizeOf(tensor);
    entries.push([tensor.name, { dtype: tensor.dtype, shape: tensor.shape, data_offsets: [begin, end] }]);
    begin = end;
  }
  if (new Set(entries.map(([name]) => name)).size !== entries.length) throw new RangeError('a tensor name occurs twice');
  const json = Buffer.from(JSON.stringify(Object.fromEntries(entries)));
  const padded = Math.ceil(json.byteLength / 8) * 8;
  const bytes = Buffer.alloc(lengthPrefixBytes + padded, ' ');
  bytes.writeBigUInt64LE(BigInt(padded), 0);
  bytes.set(json, lengthPrefixBytes);
  return bytes;
}
