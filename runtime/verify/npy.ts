/** Reads NumPy's formats: `.npy` (NEP 1, versions 1 to 3) and the ZIP of them that `savez` writes (PKZIP APPNOTE, sections 4.3.7, 4.3.12). */
import { inflateRawSync } from 'node:zlib';
import { float16ToFloat32, float32, type Tensor } from '../tensor/index.js';

/** Largest array that is read: an image of 16384² in doubles. */
const maxBytes = 2 ** 31;

/** @throws RangeError saying what is wrong with the bytes */
export function parseNpy(bytes: Buffer): Tensor<'f32'> {
  if (bytes.toString('latin1', 0, 6) !== '\u0093NUMPY') throw new RangeError('it is no .npy file');
  const version = bytes[6] ?? 0;
  const [lengthBytes, start] = version === 1 ? [bytes.readUInt16LE(8), 10] : [bytes.readUInt32LE(8), 12];
  if (start + lengthBytes > bytes.length) throw new RangeError('its header is cut short');
  const header = bytes.toString('utf8', start, start + lengthBytes);
  const [, type = ''] = /'descr':\s*'([^']+)'/.exec(header) ?? [];
  const fortran = /'fortran_order':\s*True/.test(header);
  const [, dims = ''] = /'shape':\s*\(([\d,\s]*)\)/.exec(header) ?? [];
  const shape = dims.split(',').flatMap((dim) => (dim.trim() === '' ? [] : [Number(dim)]));
  if (fortran) throw new RangeError('its array is in Fortran order: save numpy.ascontiguousarray(array)');
  const count = shape.reduce((product, dim) => product * dim, 1);
  const read = readers[type];
  if (read === undefined) throw new RangeError(`its array is of type ${type}: float16, float32, float64 and uint8 are read`);
  const data = bytes.subarray(start + lengthBytes);
  if (data.byteLength !== count * read.sizeBytes) {
    throw new RangeError(`its array of ${dims} has ${String(data.byteLength)} bytes, not ${String(count * read.sizeBytes)}`);
  }
  return float32(shape, read.values(Buffer.from(data), count));
}

const readers: Readonly<Record<string, { readonly sizeBytes: number; readonly values: (bytes: Buffer, count: number) => Float32Array }>> = {
  '<f4': { sizeBytes: 4, values: (bytes, count) => Float32Array.from({ length: count }, (_, at) => bytes.readFloatLE(4 * at)) },
  '<f8': { sizeBytes: 8, values: (bytes, count) => Float32Array.from({ length: count }, (_, at) => bytes.readDoubleLE(8 * at)) },
  '<f2': {
    sizeBytes: 2,
    values: (bytes, count) => float16ToFloat32(Uint16Array.from({ length: count }, (_, at) => bytes.readUInt16LE(2 * at))),
  },
  // Eight bits are taken for a quantised image.
  '|u1': { sizeBytes: 1, values: (bytes, count) => Float32Array.from({ length: count }, (_, at) => (bytes[at] ?? 0) / 255) },
};

/** The arrays of an `.npz` by name. @throws RangeError */
export function parseNpz(bytes: Buffer): Map<string, Tensor<'f32'>> {
  const endMark = bytes.lastIndexOf(Buffer.from('PK\u0005\u0006', 'latin1'));
  if (endMark < 0) throw new RangeError('it is no .npz file: a ZIP directory is missing');
  const entries = bytes.readUInt16LE(endMark + 10);
  let at = bytes.readUInt32LE(endMark + 16);
  const arrays = new Map<string, Tensor<'f32'>>();
  for (let entry = 0; entry < entries; entry++) {
    if (bytes.readUInt32LE(at) !== 0x02014b50) throw new RangeError('its ZIP directory is damaged');
    const method = bytes.readUInt16LE(at + 10);
    const stored = bytes.readUInt32LE(at + 20);
    const nameBytes = bytes.readUInt16LE(at + 28);
    const local = bytes.readUInt32LE(at + 42);
    const name = bytes.toString('utf8', at + 46, at + 46 + nameBytes);
    at += 46 + nameBytes + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
    const from = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const data = bytes.subarray(from, from + stored);
    if (method !== 0 && method !== 8) throw new RangeError(`${name} is compressed by method ${String(method)}`);
    arrays.set(name.replace(/\.npy$/, ''), parseNpy(method === 0 ? data : inflateRawSync(data, { maxOutputLength: maxBytes })));
  }
  return arrays;
}
