/** Reads a PNG's chunks, as a test needs them: no decoding of pixels, but the checksums are verified. */
import assert from 'node:assert/strict';
import { crc32 } from 'node:zlib';

export interface Chunk {
  readonly type: string;
  readonly data: Buffer;
}

export function readChunks(png: Uint8Array): Chunk[] {
  const bytes = Buffer.from(png);
  assert.equal(bytes.subarray(0, 8).toString('hex'), '89504e470d0a1a0a');
  const chunks: Chunk[] = [];
  for (let at = 8; at < bytes.length;) {
    const length = bytes.readUInt32BE(at);
    const end = at + 8 + length;
    assert.equal(bytes.readUInt32BE(end), crc32(bytes.subarray(at + 4, end)));
    chunks.push({ type: bytes.toString('latin1', at + 4, at + 8), data: bytes.subarray(at + 8, end) });
    at = end + 4;
  }
  return chunks;
}

export function readText(png: Uint8Array): { type: string; keyword: string; text: string }[] {
  return readChunks(png).flatMap(({ type, data }) => {
    const end = data.indexOf(0);
    const keyword = data.toString('latin1', 0, end);
    if (type === 'tEXt') return [{ type, keyword, text: data.toString('latin1', end + 1) }];
    if (type !== 'iTXt') return [];
    assert.deepEqual([...data.subarray(end, end + 5)], [0, 0, 0, 0, 0], 'not compressed, no language, no translation');
    return [{ type, keyword, text: data.toString('utf8', end + 5) }];
  });
}
