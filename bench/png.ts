/**
 * What it costs to make a PNG of an image's pixels, and how large it is: as this project does, as fast-png does, and what other ways to compress
 * the same filtered rows would give.
 *
 *     npm run build && node dist/bench/png.js [--size 1024] [--rounds 9] [picture.png …]
 *
 * Without pictures it takes the demo's, enlarged to the size, with three strengths of grain; pictures of the full-size model have about the
 * second. Processor time counts all threads. The longest turn is how long the thread that serves a rank's peers was kept from them.
 */
import { readFile } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { constants, deflateSync, inflateSync, type ZlibOptions } from 'node:zlib';
import { decode, encode } from 'fast-png';
import { table } from '../runtime/cli/table.js';
import { encodePng } from '../runtime/image/index.js';
import { quantile } from '../runtime/observe/index.js';
import { packageFile } from '../runtime/package-root.js';

interface Picture {
  readonly name: string;
  readonly width: number;
  readonly height: number;
  /** Interleaved RGB. */
  readonly pixels: Uint8Array;
}

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { size: { type: 'string', default: '1024' }, rounds: { type: 'string', default: '9' } },
});
const rounds = Number(values.rounds);
const pictures = positionals.length > 0 ? await Promise.all(positionals.map(readPicture)) : await enlarged(Number(values.size));
const rows: string[][] = [];
for (const { name, width, height, pixels } of pictures) {
  const png = await encodePng(pixels, width, height);
  const filtered = inflateSync(imageData(png));
  const again = (label: string, options: ZlibOptions): [string, () => Uint8Array] => [label, () => deflateSync(filtered, options)];
  const ways: [string, () => Uint8Array | Promise<Uint8Array>][] = [
    ['sdxl', () => encodePng(pixels, width, height)],
    ['fast-png', () => encode({ data: pixels, width, height, channels: 3 })],
    again('its rows, runs, one thread', { level: 1, strategy: constants.Z_RLE }),
    ...[1, 3, 6].map((level) => again(`its rows, level ${String(level)}, one thread`, { level })),
  ];
  for (const [label, encodeOnce] of ways) rows.push([name, label, ...(await measure(encodeOnce))]);
}
process.stdout.write(`${table(['picture', 'encoder', 'kB', 'ms', 'processor ms', 'longest turn (ms)'], rows)}\n`);

/** Bytes and medians. */
async function measure(encodeOnce: () => Uint8Array | Promise<Uint8Array>): Promise<string[]> {
  const taken: { wall: number; processor: number; turn: number }[] = [];
  let bytes = 0;
  for (let round = 0; round < rounds; round++) {
    const turns = watchTurns();
    const [started, before] = [performance.now(), process.cpuUsage()];
    bytes = (await encodeOnce()).length;
    const [wall, { user, system }] = [performance.now() - started, process.cpuUsage(before)];
    taken.push({ wall, processor: (user + system) / 1000, turn: await turns.longest() });
  }
  const median = (of: 'wall' | 'processor' | 'turn'): string =>
    quantile(
      taken.map((each) => each[of]),
      0.5,
    ).toFixed(0);
  return [(bytes / 1000).toFixed(0), median('wall'), median('processor'), median('turn')];
}

/** The longest time between two turns of this thread's event loop, until asked. */
function watchTurns(): { longest: () => Promise<number> } {
  let [longest, last, over] = [0, performance.now(), false];
  const watching = (async () => {
    while (!over) {
      await setImmediate();
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }
  })();
  return {
    longest: async () => {
      over = true;
      await watching;
      return longest;
    },
  };
}

function imageData(png: Uint8Array): Uint8Array {
  const bytes = Buffer.from(png);
  const at = bytes.indexOf('IDAT');
  return bytes.subarray(at + 4, at + 4 + bytes.readUInt32BE(at - 4));
}

async function readPicture(path: string): Promise<Picture> {
  const { width, height, channels, depth, data } = decode(await readFile(path));
  if (channels !== 3 || depth !== 8) throw new Error(`${path} has ${String(channels)} channels of ${String(depth)} bits, not 3 of 8`);
  return { name: path, width, height, pixels: Uint8Array.from(data) };
}

async function enlarged(size: number): Promise<Picture[]> {
  const { width, height, pixels } = await readPicture(packageFile('docs/images/demo.png'));
  return [0, 1.2, 3].map((grain) => {
    let state = 1;
    /** Uniform in [-√3, √3): of variance 1. */
    const random = (): number => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 31 - 1) * Math.sqrt(3);
    const grown = new Uint8ClampedArray(size * size * 3);
    for (let at = 0; at < grown.length; at++) {
      const [channel, x, y] = [at % 3, (Math.floor(at / 3) % size) / size, Math.floor(at / 3 / size) / size];
      const [across, down] = [x * (width - 1), y * (height - 1)];
      const [left, top] = [Math.floor(across), Math.floor(down)];
      const value = (column: number, row: number): number => pixels[(row * width + column) * 3 + channel] ?? 0;
      const between = (row: number): number => value(left, row) + (value(left + 1, row) - value(left, row)) * (across - left);
      grown[at] = between(top) + (between(top + 1) - between(top)) * (down - top) + grain * random();
    }
    return { name: `demo, grain ${String(grain)}`, width: size, height: size, pixels: new Uint8Array(grown.buffer) };
  });
}
