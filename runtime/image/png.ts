/**
 * PNG of 8-bit RGB with text chunks. Source: W3C PNG specification, third edition: chunk layout 5.3, IHDR 11.2.1, tEXt 11.3.3.2, iTXt 11.3.3.4.
 * Own, because the text must be any Unicode and compression must not block the process.
 */
import { crc32 } from 'node:zlib';
import { requireImageShape, type FloatImage } from './check-image.js';
import { bytesPerPixel, compressRows } from './png-rows.js';

/** One row per text: keyword (1 to 79 Latin-1 characters) and content. */
export type PngText = readonly (readonly [keyword: string, content: string])[];

/** Interleaved 8-bit RGB, `round(255·x)` with halves to the even neighbour in float32, as numpy does. Values must be in [0, 1]. */
export function quantize(image: FloatImage): Uint8Array {
  const { height, width } = requireImageShape(image.shape);
  const size = height * width;
  // A clamped array rounds halves to even (ECMA-262, ToUint8Clamp).
  const pixels = new Uint8ClampedArray(size * bytesPerPixel);
  for (let channel = 0; channel < bytesPerPixel; channel++) {
    for (let at = 0; at < size; at++) pixels[at * bytesPerPixel + channel] = Math.fround((image.data[channel * size + at] ?? 0) * 255);
  }
  return new Uint8Array(pixels.buffer);
}

/** Encodes interleaved RGB. Text comes before the pixels, where readers that stop early find it. */
export async function encodePng(pixels: Uint8Array, width: number, height: number, text: PngText = []): Promise<Uint8Array> {
  if (pixels.length !== width * height * bytesPerPixel) {
    throw new RangeError(`${String(pixels.length)} bytes for ${String(width)}×${String(height)} RGB pixels`);
  }
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.set([8, 2, 0, 0, 0], 8); // 8 bits, true colour, deflate, adaptive filters, not interlaced
  const data = Buffer.concat(await compressRows(pixels, width, height));
  return Buffer.concat([
    Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a),
    chunk('IHDR', header),
    ...text.map(([keyword, content]) => textChunk(keyword, content)),
    chunk('IDAT', data),
    chunk('IEND', new Uint8Array(0)),
  ]);
}

function chunk(type: string, data: Uint8Array): Buffer {
  const bytes = Buffer.alloc(12 + data.length);
  bytes.writeUInt32BE(data.length, 0);
  bytes.write(type, 4, 'latin1');
  bytes.set(data, 8);
  bytes.writeUInt32BE(crc32(bytes.subarray(4, 8 + data.length)), 8 + data.length);
  return bytes;
}

/** tEXt where Latin-1 holds the text, else iTXt. NUL ends a field in both and is replaced. */
function textChunk(keyword: string, content: string): Buffer {
  if (!/^[\x21-\x7e](?:[\x20-\x7e]{0,77}[\x21-\x7e])?$/.test(keyword)) throw new RangeError(`PNG keyword ${JSON.stringify(keyword)}`);
  const text = content.replaceAll('\0', '\ufffd');
  const head = Buffer.from(`${keyword}\0`, 'latin1');
  // eslint-disable-next-line no-control-regex -- the whole of Latin-1 is meant
  if (/^[\x01-\xff]*$/.test(text)) return chunk('tEXt', Buffer.concat([head, Buffer.from(text, 'latin1')]));
  // Not compressed, no language, no translated keyword.
  return chunk('iTXt', Buffer.concat([head, Uint8Array.of(0, 0, 0, 0), Buffer.from(text, 'utf8')]));
}
