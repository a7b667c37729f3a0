/** The trace of a run: complete, well formed, on one clock. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { partition } from '../../runtime/engine/index.js';
import { Model, planComponents } from '../../runtime/pipeline/index.js';
import { fixture } from '../support/fixtures.js';
import { sdxl, smallJob, Workspace } from '../support/sdxl.js';

interface TraceEvent {
  readonly name: string;
  readonly ph: 'M' | 'X' | 'b' | 'e';
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly dur: number;
  readonly id: string;
  readonly args?: Readonly<Record<string, unknown>>;
}

interface Span {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

const model = fixture('random-sdxl');
const ranks = [0, 1];
const [steps, warmupSteps] = [5, 1];

/** One rank's spans, in the order they began. */
class RankTrace {
  readonly pipeline: readonly Span[];
  readonly compute: readonly Span[];
  /** Those of networks: who makes which image is exchanged too. */
  readonly exchanges: readonly Span[];

  constructor(events: readonly TraceEvent[], rank: number) {
    const own = events.filter(({ pid, ph }) => pid === rank && ph !== 'M');
    const thread = (tid: number): Span[] =>
      inOrder(
        own.filter((event) => event.ph === 'X' && event.tid === tid).map(({ name, ts, dur }) => ({ name, start: ts, end: ts + dur })),
      );
    this.pipeline = thread(1);
    this.compute = thread(2);
    const ends = new Map(own.filter(({ ph }) => ph === 'e').map((event) => [event.id, event]));
    const begins = own.filter(({ ph }) => ph === 'b');
    assert.equal(ends.size, begins.length);
    const ofNetworks = begins.filter(({ name }) => /^(?:group_norm|group_norm_halo|halo|key_value|gather)#/u.test(name));
    this.exchanges = inOrder(
      ofNetworks.map(({ name, id, ts }) => ({ name, start: ts, end: ends.get(id)?.ts ?? assert.fail(`${name} has no end`) })),
    );
  }

  /** The runs of a network, with what each consists of. */
  runs(name: string): { readonly run: Span; readonly parts: readonly Span[] }[] {
    return this.compute
      .filter((span) => span.name === name)
      .map((run) => ({ run, parts: this.compute.filter((part) => part !== run && part.start >= run.start && part.end <= run.end) }));
  }
}

function inOrder(spans: readonly Span[]): Span[] {
  return spans.toSorted((a, b) => a.start - b.start || b.end - a.end);
}

async function exchangesOf(component: 'unet' | 'vaeDecoder'): Promise<number> {
  await using opened = await Model.open(model);
  const { components } = planComponents(opened, { cfg: 1, patch: 2 }, 0);
  return partition(components[component].graph).steps.filter(({ kind }) => kind === 'exchange').length;
}

describe('sdxl run --trace', () => {
  it('writes what both ranks did, all of it, so that overlap shows', async () => {
    await using workspace = await Workspace.open();
    const args = [
      ...smallJob(model, '-n', '2', '--num-inference-steps', String(steps)),
      ...['--mode', 'CorrectedAsyncGn', '--warmup-steps', String(warmupSteps), '--trace', 'trace.json'],
    ];
    const { code, stderr } = await sdxl(args, { cwd: workspace.path, env: { SDXL_CACHE_DIR: workspace.file('cache') } });
    assert.equal(code, 0, stderr);
    const { traceEvents } = JSON.parse(await readFile(workspace.file('trace.json'), 'utf8')) as { traceEvents: TraceEvent[] };
    const names = traceEvents.filter(({ name }) => name === 'process_name').map(({ pid, args: own }) => [pid, own?.['name']]);
    assert.deepEqual(
      names.toSorted(([a], [b]) => Number(a) - Number(b)),
      ranks.map((rank) => [rank, `rank ${String(rank)}`]),
    );
    const traces = ranks.map((rank) => new RankTrace(traceEvents, rank));
    const [unetExchanges, vaeExchanges] = [await exchangesOf('unet'), await exchangesOf('vaeDecoder')];
    for (const trace of traces) {
      assertNested(trace.pipeline);
      assertNested(trace.compute);
      const pipeline = trace.pipeline.map(({ name }) => name);
      assert.deepEqual(pipeline, [
        'encode',
        'denoise',
        ...Array.from({ length: steps }, (_, step) => `step ${String(step + 1)}`),
        'decode',
      ]);

      // Every exchange is sent in every step but the last, which sends its result alone.
      const runs = trace.runs('unet');
      const sent = runs.map(({ parts }) => parts.filter(({ name }) => name.startsWith('send ')).length);
      assert.deepEqual(sent, [...Array.from({ length: steps - 1 }, () => unetExchanges), 1]);
      const waited = runs.map(({ parts }) => parts.filter(({ name }) => name.startsWith('wait ')).length);
      assert.deepEqual(waited, Array(steps).fill(unetExchanges));
      assert.equal(trace.exchanges.length, unetExchanges * (steps - 1) + 1 + vaeExchanges);

      // The first displaced run's exchanges are on their way when it has ended, or have been while it computed: it waits for none of them.
      const { run, parts } = runs[warmupSteps + 1] ?? assert.fail();
      const sends = parts.filter(({ name }) => name.startsWith('send key_value'));
      assert.ok(sends.length > 0);
      for (const send of sends) {
        const exchange = trace.exchanges.find(({ name, start }) => `send ${name}` === send.name && start >= send.start) ?? assert.fail();
        assert.ok(exchange.start < run.end);
        const waits = trace.compute.filter(({ name, start }) => name === send.name.replace('send', 'wait') && start >= send.start);
        assert.ok((waits[0]?.start ?? 0) >= run.end, `${send.name} is waited for by the run that sent it`);
      }
    }

    // One clock: nothing has arrived before the peer sent it.
    const [mine = [], theirs = []] = traces.map(({ exchanges }) => exchanges);
    assert.deepEqual(
      mine.map(({ name }) => name),
      theirs.map(({ name }) => name),
    );
    mine.forEach((exchange, index) => {
      const peer = theirs[index] ?? assert.fail();
      assert.ok(exchange.end > peer.start && peer.end > exchange.start, exchange.name);
    });
  });

  it('shows that an image is written while the next one is made', async () => {
    await using workspace = await Workspace.open();
    const args = [...smallJob(model, '--num-images', '3'), '--trace', 'trace.json'];
    const { code, stderr } = await sdxl(args, { cwd: workspace.path, env: { SDXL_CACHE_DIR: workspace.file('cache') } });
    assert.equal(code, 0, stderr);
    const { traceEvents } = JSON.parse(await readFile(workspace.file('trace.json'), 'utf8')) as { traceEvents: TraceEvent[] };
    const writes = traceEvents.filter(({ name }) => name === 'write');
    const ends = writes.filter(({ ph }) => ph === 'e');
    const begins = writes.filter(({ ph }) => ph === 'b');
    assert.deepEqual([begins.length, ends.length], [3, 3]);
    const encodes = inOrder(
      traceEvents
        .filter(({ name, ph }) => name === 'encode' && ph === 'X')
        .map(({ name, ts, dur }) => ({ name, start: ts, end: ts + dur })),
    );
    for (const image of [0, 1]) {
      const { id } = begins.find(({ args: own }) => own?.['image'] === image) ?? assert.fail();
      const { ts } = ends.find((end) => end.id === id) ?? assert.fail();
      const next = encodes[image + 1] ?? assert.fail();
      assert.ok(next.start < ts, `image ${String(image + 1)} begins ${String(next.start - ts)} µs after image ${String(image)} is written`);
    }
  });

  it('refuses a file that cannot be written before anything starts', async () => {
    await using workspace = await Workspace.open();
    const { code, stderr } = await sdxl([...smallJob(model), '--trace', 'absent/trace.json'], { cwd: workspace.path });
    assert.equal(code, 3);
    assert.match(stderr, /OUTPUT_UNWRITABLE.*absent\/trace\.json/u);
    assert.doesNotMatch(stderr, / started /u);
  });
});

/** Each span lies in the one before it or begins after it has ended. */
function assertNested(spans: readonly Span[]): void {
  const open: Span[] = [];
  for (const span of spans) {
    while ((open.at(-1)?.end ?? Number.POSITIVE_INFINITY) <= span.start + roundingMicros) open.pop();
    const around = open.at(-1);
    if (around !== undefined) assert.ok(span.end <= around.end + roundingMicros, `${span.name} outlasts ${around.name}, in which it began`);
    open.push(span);
  }
  assert.ok(spans.length > 0);
}

const roundingMicros = 0.3;
