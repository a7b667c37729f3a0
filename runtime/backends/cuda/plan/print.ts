/** A program as text: every operation with its shapes, bytes, arithmetic and tactic. Stored beside the engine. */
import { stages, type Operation } from './operations.js';
import { buffersOf } from './memory.js';
import type { Program } from './program.js';
import { elementBytes, product, type MatrixView, type View } from './view.js';

/** What the printer shows of a bound operation. */
export interface PrintedLaunch {
  readonly operation: Operation;
  readonly label: string;
  readonly microseconds: number | undefined;
}

export function printProgram(program: Program, launches: readonly PrintedLaunch[]): string {
  const labels = new Map(launches.map((launch) => [launch.operation, launch]));
  const { arenaBytes, persistentBytes } = program.memory;
  const weightBytes = program.buffers.reduce(
    (sum, { role, elements, type }) => sum + (role === 'weight' ? elements * elementBytes[type] : 0),
    0,
  );
  const lines = [
    `program ${program.name}: weights ${mebibytes(weightBytes)}, arena ${mebibytes(arenaBytes)}, kept between stages ${mebibytes(persistentBytes)}`,
  ];
  for (const stage of stages) {
    const operations = program.operations[stage];
    if (operations.length === 0) continue;
    lines.push('', `${stage}: ${String(operations.length)} operations`);
    lines.push('kind          output                   MB  GFLOP       µs  tactic, name');
    for (const operation of operations) {
      const launch = labels.get(operation);
      const cells = [
        operation.kind.padEnd(13),
        shapeText(operation).padEnd(22),
        (bytesOf(program, operation) / 1e6).toFixed(1).padStart(6),
        (flopsOf(operation) / 1e9).toFixed(1).padStart(6),
        (launch?.microseconds?.toFixed(1) ?? '').padStart(8),
        `${launch?.label ?? ''}, ${operation.name}`,
      ];
      lines.push(cells.join(' '));
    }
  }
  return `${lines.join('\n')}\n`;
}

/** Multiplications and additions. */
export function flopsOf(operation: Operation): number {
  switch (operation.kind) {
    case 'gemm':
    case 'matmul':
      return 2 * operation.x.rows * operation.x.columns * operation.y.columns;
    case 'gatedGemm':
      return 2 * operation.x.rows * operation.x.columns * operation.projection.columns;
    case 'conv':
      return 2 * product(operation.y.shape) * (operation.x.shape[1] ?? 1) * operation.kernel[0] * operation.kernel[1];
    case 'attention':
      return 4 * product(operation.q.shape) * (operation.k.shape[1] ?? 1);
    default:
      return 0;
  }
}

/** Bytes of every buffer it touches, each once: what has to move at least if nothing is cached. */
function bytesOf(program: Program, operation: Operation): number {
  let sum = 0;
  for (const buffer of buffersOf(operation)) {
    const spec = program.buffers[buffer];
    if (spec !== undefined) sum += spec.elements * elementBytes[spec.type];
  }
  for (const field of ['weight', 'bias', 'table'] as const) {
    const buffer: unknown = Object.entries(operation).find(([name]) => name === field)?.[1];
    const spec = typeof buffer === 'number' ? program.buffers[buffer] : undefined;
    if (spec !== undefined) sum += spec.elements * elementBytes[spec.type];
  }
  return sum;
}

/** Shapes in and out, for grouping: `2048×1280 → 2048×3840`. */
export function describeOperation(operation: Operation): string {
  switch (operation.kind) {
    case 'gemm':
      return `${shapeOf(operation.x)} → ${shapeOf(operation.y)}${operation.accumulate ? ' +=' : ''}${operation.bias === undefined ? '' : ' + bias'}`;
    case 'gatedGemm':
      return `${shapeOf(operation.x)} → ${shapeOf(operation.projection)} → ${shapeOf(operation.y)}${operation.bias === undefined ? '' : ' + bias'}`;
    case 'conv':
      return `${shapeOf(operation.x)} → ${shapeOf(operation.y)}${operation.residual === undefined ? '' : ' + residual'}`;
    case 'matmul':
      return `${shapeOf(operation.x)} · ${shapeOf(operation.w)} → ${shapeOf(operation.y)}`;
    case 'attention':
      return `${shapeOf(operation.q)} · ${shapeOf(operation.k)}`;
    case 'groupNorm':
      return `${operation.source.parts.map(shapeOf).join(' | ')}${operation.source.shift === undefined ? '' : ' + time'}`;
    default:
      return shapeText(operation);
  }
}

function shapeText(operation: Operation): string {
  if (operation.kind === 'collective' || operation.kind === 'sendAhead') return operation.payloads.map(({ to }) => shapeOf(to)).join(' ');
  return shapeOf(operation.y);
}

function shapeOf(view: View | MatrixView): string {
  return 'rows' in view ? `${String(view.rows)}×${String(view.columns)}` : view.shape.join('×');
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(0)} MiB`;
}
