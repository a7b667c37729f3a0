/**
 * Draws some steps of a trace, for those who have no Perfetto at hand:
 * `sdxl run … --trace trace.json && node dist/bench/trace-picture.js trace.json docs/images/trace.svg [--steps 5,6]`.
 *
 * Of each rank two rows: what it computes, and where it waits; below, each of its exchanges from sent to arrived.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';

interface Span {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

interface TraceEvent {
  readonly name: string;
  readonly ph: string;
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur?: number;
  readonly id?: string;
}

const { values, positionals } = parseArgs({ allowPositionals: true, options: { steps: { type: 'string', default: '5,6' } } });
const [from, to] = positionals;
if (from === undefined || to === undefined) throw new Error('usage: trace-picture TRACE SVG [--steps 5,6]');
const { traceEvents: events } = JSON.parse(await readFile(from, 'utf8')) as { traceEvents: TraceEvent[] };
const ranks = [...new Set(events.map(({ pid }) => pid))].sort((a, b) => a - b);
const steps = values.steps.split(',').map((step) => `step ${step}`);
const shown = ranks.flatMap((rank) => spansOf(rank, 1)).filter(({ name }) => steps.includes(name));
const [first, last] = [Math.min(...shown.map(({ start }) => start)), Math.max(...shown.map(({ end }) => end))];

const [width, left, rowHeight, flightHeight] = [1000, 70, 22, 44];
const x = (micros: number): number => left + ((micros - first) / (last - first)) * (width - left - 10);
const colors = { segment: '#4c78a8', send: '#f2cf5b', unpack: '#b5bd68', wait: '#e45756' } as const;
const parts: string[] = [];
let y = 24;
for (const rank of ranks) {
  parts.push(text(4, y + 15, `rank ${rank}`));
  for (const { name, start, end } of spansOf(rank, 1).filter((span) => steps.includes(span.name))) {
    parts.push(text((x(start) + x(end)) / 2 - 16, y - 6, name));
    parts.push(`<path d="M${x(end).toFixed(1)} ${y - 16}V${y + rowHeight + flightHeight + 4}" stroke="#999" stroke-dasharray="3"/>`);
  }
  for (const [kind, color] of Object.entries(colors)) {
    for (const span of within(spansOf(rank, 2)).filter(({ name }) => name.startsWith(kind))) parts.push(bar(span, y, rowHeight, color));
  }
  const lanes: number[] = [];
  for (const span of within(flights(rank))) {
    const free = lanes.findIndex((end) => end <= span.start);
    const lane = free === -1 ? lanes.length : free;
    lanes[lane] = span.end;
    parts.push(bar(span, y + rowHeight + 3 + (lane % 13) * 3, 2, '#54a24b'));
  }
  y += rowHeight + flightHeight + 28;
}
const legend = { ...colors, 'under way': '#54a24b' };
Object.entries(legend).forEach(([name, color], index) => {
  parts.push(
    `<rect x="${left + index * 110}" y="${y}" width="12" height="12" fill="${color}"/>`,
    text(left + 16 + index * 110, y + 10, name),
  );
});
parts.push(text(width - 130, y + 10, `${((last - first) / 1000).toFixed(0)} ms in all`));
const style = 'font-family="sans-serif" font-size="12"';
const head = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${y + 20}" ${style}><rect width="100%" height="100%" fill="#fff"/>`;
await writeFile(to, `${head}\n${parts.join('\n')}\n</svg>\n`);

function spansOf(rank: number, thread: number): Span[] {
  return events
    .filter(({ ph, pid, tid }) => ph === 'X' && pid === rank && tid === thread)
    .map(({ name, ts, dur = 0 }) => ({ name, start: ts, end: ts + dur }));
}

function flights(rank: number): Span[] {
  const own = events.filter(({ pid, tid }) => pid === rank && tid === 3);
  const ends = new Map(own.filter(({ ph }) => ph === 'e').map(({ id, ts }) => [id, ts]));
  return own.filter(({ ph }) => ph === 'b').map(({ name, id, ts }) => ({ name, start: ts, end: ends.get(id) ?? ts }));
}

function within(spans: readonly Span[]): Span[] {
  return spans
    .filter(({ start, end }) => end > first && start < last)
    .map(({ name, start, end }) => ({ name, start: Math.max(start, first), end: Math.min(end, last) }))
    .sort((a, b) => a.start - b.start);
}

function bar({ name, start, end }: Span, top: number, height: number, color: string): string {
  const length = Math.max(x(end) - x(start), 0.3).toFixed(1);
  return `<rect x="${x(start).toFixed(1)}" y="${top}" width="${length}" height="${height}" fill="${color}"><title>${name}</title></rect>`;
}

function text(at: number, baseline: number, what: string): string {
  return `<text x="${at.toFixed(0)}" y="${baseline}">${what}</text>`;
}
