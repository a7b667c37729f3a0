/**
 * All that the CUDA backend has to show on a GPU host, in one command (docs/cuda.md):
 *
 *     node dist/bench/gpu/acceptance.js --model DIR --output report.json [--budget-minutes N] [--only a,b] [--again] [--list]
 *
 * DIR holds a full-size model: random weights of SDXL base's configuration will do (`node dist/bench/models/random-model.js sdxl-base DIR
 * f16`). Checks run one after the other as processes with a deadline each; what they show is written to the report as it becomes known, and
 * a later call with the same report goes on with what is left, `--again` from the start. `--work DIR` keeps engines and references between calls.
 *
 * Ends with 0 where nothing is missed, 1 where something is, 75 where the budget is spent and checks are left, 3 where there is no device.
 */
import { spawnSync } from 'node:child_process';
import { mkdir, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { tmpdir } from 'node:os';
import { parseArgs } from 'node:util';
import { Device, Driver, LibrarySearch, libraryPathVariable } from '../../runtime/backends/cuda/libraries/index.js';
import { ExitCode, toSdxlError } from '../../runtime/errors/index.js';
import { acceptanceChecks, isMissed, readFigure, type Check, type Figure } from './acceptance/checks.js';
import { Report, type Host, type Result } from './acceptance/report.js';
import { runCommand } from './acceptance/run-command.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    output: { type: 'string' },
    'budget-minutes': { type: 'string' },
    only: { type: 'string' },
    again: { type: 'boolean', default: false },
    list: { type: 'boolean', default: false },
    work: { type: 'string', default: join(tmpdir(), 'sdxl-acceptance') },
    python: { type: 'string', default: 'python3' },
  },
});

process.exitCode = await main().catch((error: unknown) => {
  const { code, message, exitCode } = toSdxlError(error);
  console.error(code === 'INTERNAL' ? message : `error ${code}: ${message}`);
  return exitCode;
});

async function main(): Promise<number> {
  const checks = chosen(acceptanceChecks({ model: resolve(values.model ?? 'DIR'), work: resolve(values.work), python: values.python }));
  if (values.list) {
    for (const { name, gpus, what } of checks) console.log(`${name.padEnd(20)} ${gpus === 2 ? 'two GPUs' : 'one GPU '}  ${what}`);
    return ExitCode.success;
  }
  if (values.model === undefined || values.output === undefined) throw new Error('--model DIR and --output FILE are required');
  const budgetMs = Number(values['budget-minutes'] ?? 'Infinity') * 60_000;
  if (!(budgetMs > 0)) throw new Error(`--budget-minutes ${String(values['budget-minutes'])}: a number above 0`);
  const host = await thisHost();
  console.error(`${String(host.devices)} × ${host.device}, driver for CUDA ${host.driver}`);
  const output = resolve(values.output);
  if (values.again) await rm(output, { force: true });
  const report = await Report.open(output, host);
  await mkdir(values.work, { recursive: true });
  const left: string[] = [];
  const started = performance.now();
  for (const check of checks) {
    if (report.has(check.name)) continue;
    const remainingMs = budgetMs - (performance.now() - started);
    const result = remainingMs <= 0 ? undefined : await outcomeOf(check, host, remainingMs);
    if (result === undefined) left.push(check.name);
    else {
      await report.add(result);
      console.error(`${check.name}: ${result.outcome}, ${result.detail}`);
    }
  }
  console.log(report.print());
  if (left.length > 0) console.log(`left for another call, the budget is spent: ${left.join(', ')}`);
  if (report.missed.length > 0) return ExitCode.internal;
  return left.length > 0 ? ExitCode.retriable : ExitCode.success;
}

function chosen(all: readonly Check[]): readonly Check[] {
  const names = values.only?.split(',');
  const unknown = names?.filter((name) => !all.some((check) => check.name === name)) ?? [];
  if (unknown.length > 0) throw new Error(`--only ${unknown.join()}: of ${all.map(({ name }) => name).join(', ')}`);
  return all.filter(({ name }) => names?.includes(name) ?? true);
}

/** The device is given back before anything runs. @throws SdxlError CUDA_UNAVAILABLE */
async function thisHost(): Promise<Host> {
  const driver = await Driver.open(new LibrarySearch({ libraryPath: process.env[libraryPathVariable] }));
  using device = await Device.open(driver);
  return { device: device.properties.name, devices: driver.deviceCount, driver: driver.cudaVersion.join('.') };
}

/** Undefined where the budget did not suffice: then it is to be run another time. */
async function outcomeOf(check: Check, host: Host, remainingMs: number): Promise<Result | undefined> {
  const { name, gpus, needs, commands, deadlineMinutes, figures = [], fresh = [] } = check;
  const base = { name, figures: {}, seconds: 0, command: commands.map((command) => command.join(' ')).join(' && ') };
  if (gpus > host.devices) return { ...base, outcome: 'skipped', detail: `needs ${String(gpus)} GPUs, here is ${String(host.devices)}` };
  if (needs !== undefined && spawnSync(needs[0], needs.slice(1), { timeout: 120_000 }).status !== 0)
    return { ...base, outcome: 'skipped', detail: `needs ${needs.join(' ')}` };
  for (const folder of fresh) await rm(folder, { recursive: true, force: true });
  const started = performance.now();
  const elapsedMs = (): number => performance.now() - started;
  let said = '';
  for (const command of commands) {
    const deadlineMs = Math.min(deadlineMinutes * 60_000, remainingMs) - elapsedMs();
    const { code, output } = await runCommand(command, Math.max(1, deadlineMs));
    said = output;
    const seconds = elapsedMs() / 1000;
    if (code === undefined && elapsedMs() >= remainingMs) return undefined;
    if (code === undefined) return { ...base, seconds, outcome: 'missed', detail: `had not ended after ${seconds.toFixed(0)} s` };
    // A bench that ends with 1 has figures that say why.
    if (code !== 0 && figures.every((figure) => readFigure(figure, said) === undefined))
      return { ...base, seconds, outcome: 'missed', detail: `ended with ${String(code)}: ${lastLine(said)}` };
    if (code !== 0) return judged(base, figures, said, seconds, `ended with ${String(code)}`);
  }
  return judged(base, figures, said, elapsedMs() / 1000, figures.length === 0 ? lastLine(said) : undefined);
}

function judged(
  base: Pick<Result, 'name' | 'command'>,
  figures: readonly Figure[],
  output: string,
  seconds: number,
  note: string | undefined,
): Result {
  const found = figures.map((figure) => ({ figure, value: readFigure(figure, output) }));
  const texts = found.map(({ figure, value }) => {
    const { name, unit, most, least } = figure;
    const gate = most === undefined ? (least === undefined ? '' : ` (≥ ${format(least)})`) : ` (≤ ${format(most)})`;
    return `${name} ${value === undefined ? 'not told' : `${format(value)} ${unit}`.trim()}${gate}${isMissed(figure, value) ? ' MISSED' : ''}`;
  });
  const isEnded = note?.startsWith('ended with') === true;
  const missed = isEnded || found.some(({ figure, value }) => isMissed(figure, value));
  return {
    ...base,
    seconds,
    outcome: missed ? 'missed' : 'passed',
    detail: [...texts, ...(note === undefined ? [] : [note])].join(', '),
    figures: Object.fromEntries(found.flatMap(({ figure, value }) => (value === undefined ? [] : [[figure.name, value]]))),
  };
}

function format(value: number): string {
  return Number(value.toPrecision(4)).toString();
}

/** The last lines that tell of a failure, else the last of all. */
function lastLine(output: string): string {
  const lines = output.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('wall '));
  const failures = lines.filter((line) => /FAILED|^error |^\w*Error\b/u.test(line));
  return (failures.length > 0 ? failures.slice(-3).join('; ') : (lines.at(-1) ?? 'nothing said')).slice(0, 400);
}
