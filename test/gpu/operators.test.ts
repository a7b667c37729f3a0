/**
 * Every operation that full-size SDXL is planned into, at its own shapes, each alone on a device with random operands and by every
 * tactic, against float64. Skipped where there is no device. Sizes other than 1024²: SDXL_TEST_SIZES=1024,2048.
 */
import assert from 'node:assert/strict';
import { after, describe, test } from 'node:test';
import { distinctOperations } from '../support/operations/lone-operation.js';
import { OperationBench, type Outcome } from '../support/operations/operation-bench.js';
import { sdxlPrograms, textPrograms, type NamedProgram } from '../support/operations/sdxl-programs.js';
import { openGpu } from '../support/gpu.js';

const opened = await openGpu();
const skip = typeof opened === 'string' ? opened : false;
if (typeof opened !== 'string') opened.close();

const sizes = (process.env['SDXL_TEST_SIZES'] ?? '1024').split(',').map(Number);
/** Tactics tried for each product, convolution and attention: as many as the engine times. */
const tactics = Number(process.env['SDXL_TEST_TACTICS'] ?? '48');
const meshes = [
  { cfg: 1, patch: 1 },
  { cfg: 2, patch: 1 },
  { cfg: 1, patch: 2 },
  { cfg: 2, patch: 2 },
];

interface Row {
  readonly network: string;
  readonly kind: string;
  shapes: number;
  runs: number;
  refused: number;
  relative: number;
  worst: number;
  failed: number;
}

describe('every operation of SDXL at its own shapes', { skip }, async () => {
  const bench = skip === false ? await OperationBench.open() : undefined;
  const rows: Row[] = [];
  const known = { f16: new Set<string>(), bf16: new Set<string>() };
  const networks = (): NamedProgram[] => [
    ...sizes.flatMap((size) => meshes.flatMap((mesh) => sdxlPrograms(mesh, size))),
    ...textPrograms(),
  ];
  for (const { name, half, program } of skip === false ? networks() : []) {
    const operations = distinctOperations(program, known[half]);
    for (const kind of new Set(operations.map(({ operation }) => operation.kind))) {
      const chosen = operations.filter(({ operation }) => operation.kind === kind);
      test(`${name}, ${half}: ${kind}, ${String(chosen.length)} new shapes`, async (t) => {
        const row: Row = {
          network: `${name}, ${half}`,
          kind,
          shapes: chosen.length,
          runs: 0,
          refused: 0,
          relative: 0,
          worst: 0,
          failed: 0,
        };
        rows.push(row);
        const failures: string[] = [];
        for (const lone of chosen) {
          const { outcomes, refused } = (await bench?.measure(lone, half, tactics)) ?? { outcomes: [], refused: 0 };
          row.runs += outcomes.length;
          row.refused += refused;
          row.relative = Math.max(row.relative, ...outcomes.map(({ relative }) => relative));
          row.worst = Math.max(row.worst, ...outcomes.map(({ worst }) => worst));
          const failed = outcomes.filter(({ failure }) => failure !== undefined);
          row.failed += failed.length;
          failures.push(...failed.map((outcome) => describeFailure(lone.label, outcome)));
          t.diagnostic(`${lone.label} (× ${String(lone.count)}): ${String(outcomes.length)} runs, ${spread(outcomes)}`);
        }
        assert.equal(failures.length, 0, failures.slice(0, 12).join('\n'));
      });
    }
  }

  after(async () => {
    if (bench === undefined) return;
    const about = bench.describe();
    await bench.close();
    console.log(`\n${about}\n${table(rows)}`);
  });
});

function describeFailure(label: string, { label: tactic, failure = '' }: Outcome): string {
  return `${label} by ${tactic}: ${failure}`;
}

function spread(outcomes: readonly Outcome[]): string {
  const relative = outcomes.map((outcome) => outcome.relative);
  return `relative error ${Math.min(...relative).toExponential(1)} to ${Math.max(...relative).toExponential(1)}`;
}

function table(rows: readonly Row[]): string {
  const head = ['network', 'operation', 'shapes', 'runs', 'refused', 'relative', 'worst', 'failed'];
  const cells = rows.map(({ network, kind, shapes, runs, refused, relative, worst, failed }) => [
    network,
    kind,
    String(shapes),
    String(runs),
    String(refused),
    relative.toExponential(1),
    worst.toFixed(2),
    String(failed),
  ]);
  const sum = (of: (row: Row) => number): string => String(rows.reduce((total, row) => total + of(row), 0));
  const total = ['all', '', sum((row) => row.shapes), sum((row) => row.runs), sum((row) => row.refused), '', '', sum((row) => row.failed)];
  const lines = [head, ...cells, total];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)));
  return lines
    .map((line) =>
      line.map((cell, column) => (column < 2 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0))).join('  '),
    )
    .join('\n');
}
