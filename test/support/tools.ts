/** Programs that check what is delivered. Where one is missing its tests are skipped with a reason; on CI, which installs them, they fail. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { findTool, type ToolName } from '../../scripts/tools/catalogue.js';

const execute = promisify(execFile);
const timeoutMs = 120_000;

export interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** False where every one of the tools is there, or the reason to skip what needs them. */
export function skipWithout(...names: readonly ToolName[]): string | false {
  const missing = names.filter((name) => findTool(name) === undefined);
  if (missing.length === 0 || process.env['CI'] === 'true') return false;
  return `${missing.join(' and ')} not installed: npm run tools`;
}

export function toolPath(name: ToolName): string {
  const path = findTool(name);
  if (path === undefined) throw new Error(`${name} is not installed: npm run tools`);
  return path;
}

/** Runs a tool to its end, whatever its exit code. */
export async function tryTool(name: ToolName, args: readonly string[]): Promise<Outcome> {
  return await tryProgram(toolPath(name), args);
}

export async function tryProgram(file: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Outcome> {
  try {
    const { stdout, stderr } = await execute(file, args, { env, timeout: timeoutMs, maxBuffer: 64 * 1024 * 1024 });
    return { exitCode: 0, stdout, stderr };
  } catch (error) {
    if (!isOutcome(error)) throw error;
    return { exitCode: error.code, stdout: error.stdout, stderr: error.stderr };
  }
}

/** Runs a tool that must succeed, and gives its output. */
export async function runTool(name: ToolName, args: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await tryTool(name, args);
  if (exitCode !== 0) throw new Error(`${name} ${args.join(' ')} ended with ${exitCode}: ${stderr}${stdout}`);
  return stdout;
}

function isOutcome(error: unknown): error is { readonly code: number; readonly stdout: string; readonly stderr: string } {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' && 'stdout' in error && 'stderr' in error;
}
