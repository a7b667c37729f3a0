#!/usr/bin/env node
/**
 * The command line `sdxl`. Knows how a terminal talks: arguments, progress, tables, signals and exit codes; what is run and how it fails
 * is launch's. This file owns the process: signals become aborts, an error becomes one line on stderr and the catalogue's exit code.
 */
import { ExitCode, SdxlError, toSdxlError } from '../errors/index.js';

/** What is still open when the command is over may hold the process up no longer than this. */
const lingerMs = 2_000;

// Before anything else is loaded: the first process of a container is not ended by a signal that nobody handles.
const [stop, kill] = [new AbortController(), new AbortController()];
let received: 'SIGINT' | 'SIGTERM' | undefined;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (received !== undefined) {
      kill.abort();
      return;
    }
    received = signal === 'SIGINT' ? 'SIGINT' : 'SIGTERM';
    stop.abort(new SdxlError('CANCELLED', `stopped by ${signal}`, { fields: { signal } }));
  });
}
// A reader that went away (`sdxl inspect | head`) is no error.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

process.exitCode = await main(process.argv.slice(2));
setTimeout(() => process.exit(), lingerMs).unref();

async function main(args: readonly string[]): Promise<number> {
  const verbose = args.includes('--verbose');
  try {
    const [{ readEnvironment }, { runProgram }] = await Promise.all([import('../launch/index.js'), import('./program.js')]);
    const environment = { ...readEnvironment(), ...(verbose ? { logLevel: 'debug' as const } : {}) };
    await runProgram({ environment, stdout: process.stdout, stderr: process.stderr, stop: stop.signal, kill: kill.signal }, args);
    return signalled() ?? ExitCode.success;
  } catch (thrown) {
    const error = toSdxlError(thrown);
    const stack = verbose || error.code === 'INTERNAL' ? `\n${error.stack ?? ''}` : '';
    process.stderr.write(`error ${error.code}: ${error.message}${hint(error)}${stack}\n`);
    return error.code === 'CANCELLED' ? (signalled() ?? error.exitCode) : error.exitCode;
  }
}

function signalled(): number | undefined {
  if (received === undefined) return undefined;
  return received === 'SIGINT' ? ExitCode.interrupted : ExitCode.terminated;
}

function hint(error: SdxlError): string {
  if (error.code === 'INTERNAL') return ' (a defect of this program: please report it)';
  return error.retriable ? ' (a new attempt may succeed)' : '';
}
