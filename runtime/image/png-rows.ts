/**
 * The pixels of a PNG as its IDAT chunk holds them: rows filtered, then compressed. Sources: W3C PNG specification, third edition, filters 9.2
 * and 12.7; RFC 1950 for what surrounds the compressed bytes.
 *
 * Bands of rows are compressed beside each other by the threads that Node keeps for such work, while this thread filters the next one: all but the
 * last end at a whole byte, and one after the other they are one stream. Where bands begin depends on the width only, so the same pixels are the
 * same bytes on every machine. Between two bands this thread serves everything else.
 */
import { setImmediate } from 'node:timers/promises';
import { promisify } from 'node:util';
import { constants, deflateRaw } from 'node:zlib';

const deflateRawAsync = promisify(deflateRaw);
export const bytesPerPixel = 3;
/** Two milliseconds of filtering. */
const bandBytes = 192 * 1024;
/**
 * Only runs of one byte are looked for: filtered rows of pictures repeat nothing else, and what a search for longer matches gives up in the codes
 * of single bytes is more than it finds. bench/png.ts compares.
 */
const compression = { level: 1, strategy: constants.Z_RLE };
/** 32 KiB window, fastest compression, no dictionary. */
const streamHeader = Uint8Array.of(0x78, 0x01);
const average = 3;
const paeth = 4;
/** Every so many bytes of a row the two filters are tried. No multiple of a pixel's bytes: each channel gets its turn. */
const sampleStep = 7;

/** The parts of the chunk's content, in order. `pixels` are interleaved RGB. */
export async function compressRows(pixels: Uint8Array, width: number, height: number): Promise<Uint8Array[]> {
  const bandRows = Math.max(1, Math.floor(bandBytes / (width * bytesPerPixel + 1)));
  const bands: Promise<Buffer>[] = [];
  let checksum = 1;
  for (let y = 0; y < height; y += bandRows) {
    const end = Math.min(height, y + bandRows);
    const rows = filterRows(pixels, width, y, end);
    checksum = adler32(rows, checksum);
    const finishFlush = end === height ? constants.Z_FINISH : constants.Z_SYNC_FLUSH;
    const band = deflateRawAsync(rows, { ...compression, finishFlush });
    band.catch(() => undefined); // Told below.
    bands.push(band);
    await setImmediate();
  }
  const trailer = Buffer.alloc(4);
  trailer.writeUInt32BE(checksum);
  return [streamHeader, ...(await Promise.all(bands)), trailer];
}

/** Rows `from` to `to`, each behind the number of its filter: of the two that suit pictures the one that leaves smaller values. */
function filterRows(pixels: Uint8Array, width: number, from: number, to: number): Uint8Array {
  const stride = width * bytesPerPixel;
  const filtered = new Uint8Array((to - from) * (stride + 1));
  const zeros = new Uint8Array(stride);
  for (let y = from; y < to; y++) {
    const row = pixels.subarray(y * stride, (y + 1) * stride);
    const above = y === 0 ? zeros : pixels.subarray((y - 1) * stride, y * stride);
    const at = (y - from) * (stride + 1);
    const output = filtered.subarray(at + 1, at + 1 + stride);
    if (averageIsBetter(row, above)) {
      filtered[at] = average;
      filterByAverage(row, above, output);
    } else {
      filtered[at] = paeth;
      filterByPaeth(row, above, output);
    }
  }
  return filtered;
}

/** The heuristic of section 12.7, the least sum of magnitudes, on some of the bytes. */
function averageIsBetter(row: Uint8Array, above: Uint8Array): boolean {
  let difference = 0;
  for (let at = bytesPerPixel; at < row.length; at += sampleStep) {
    const [value, a, b, c] = [byte(row, at), byte(row, at - bytesPerPixel), byte(above, at), byte(above, at - bytesPerPixel)];
    difference += magnitude(value - ((a + b) >> 1)) - magnitude(value - paethPredictor(a, b, c));
  }
  return difference < 0;
}

function filterByAverage(row: Uint8Array, above: Uint8Array, output: Uint8Array): void {
  for (let at = 0; at < bytesPerPixel; at++) output[at] = byte(row, at) - (byte(above, at) >> 1);
  for (let at = bytesPerPixel; at < row.length; at++) {
    output[at] = byte(row, at) - ((byte(row, at - bytesPerPixel) + byte(above, at)) >> 1);
  }
}

function filterByPaeth(row: Uint8Array, above: Uint8Array, output: Uint8Array): void {
  // Nothing stands to the left of the first pixel: the one above is nearest.
  for (let at = 0; at < bytesPerPixel; at++) output[at] = byte(row, at) - byte(above, at);
  for (let at = bytesPerPixel; at < row.length; at++) {
    const before = at - bytesPerPixel;
    output[at] = byte(row, at) - paethPredictor(byte(row, before), byte(above, at), byte(above, before));
  }
}

/** Section 9.4: of left, above and upper left the nearest to a + b − c, in this order where two are as near. */
function paethPredictor(a: number, b: number, c: number): number {
  const toA = Math.abs(b - c);
  const toB = Math.abs(a - c);
  const toC = Math.abs(a + b - 2 * c);
  return toA <= toB && toA <= toC ? a : toB <= toC ? b : c;
}

/** Of a difference of bytes, modulo 256 and read as signed. */
function magnitude(difference: number): number {
  return Math.abs((difference << 24) >> 24);
}

/** Callers stay within the array. */
function byte(bytes: Uint8Array, at: number): number {
  return bytes[at] as number;
}

/** RFC 1950, section 8.2, going on from the checksum of what came before (1: nothing). */
function adler32(bytes: Uint8Array, before: number): number {
  let low = before & 0xffff;
  let high = before >>> 16;
  // The longest run after which both sums still fit 32 bits.
  const run = 5552;
  for (let start = 0; start < bytes.length; start += run) {
    const end = Math.min(bytes.length, start + run);
    for (let at = start; at < end; at++) {
      low += byte(bytes, at);
      high += low;
    }
    low %= 65521;
    high %= 65521;
  }
  return ((high << 16) | low) >>> 0;
}
