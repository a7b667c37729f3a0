#!/usr/bin/env node
/**
 * The command line `sdxl`. Knows how a terminal talks: arguments, progress, tables, signals and exit codes; what is run and how it fails
 * is launch's. This file owns the process: signals become aborts, an error becomes one line on stderr and the catalogue's exit code.
 */
import { ExitCode, printable, SdxlError, toSdxlError } from '../errors/index.js';

/** What is still open when the command is over may hold the process up no longer than this. */
const lingerMs = 2_000;
/** Some 90 are open while the program is loaded. */
const fewFiles = 256;
/** After the second signal: long enough to see the killed ranks go and to say so. */
const lastWordsMs = 1_000;
/** After the first signal and the grace period: long enough to kill the ranks that are left, and to tell what became of them. */
const overdueMs = 5_000;

// Before anything else is loaded: the first process of a container is not ended by a signal that nobody handles.
const [stop, kill] = [new AbortController(), new AbortController()];
let received: 'SIGINT' | 'SIGTERM' | undefined;
/** What ranks have to end by themselves, once it is known. */
let gracePeriodMs = 0;
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    if (received !== undefined) {
      kill.abort();
      setTimeout(leave, lastWordsMs).unref();
      return;
    }
    received = signal === 'SIGINT' ? 'SIGINT' : 'SIGTERM';
    const cancelled = new SdxlError('CANCELLED', `stopped by ${signal}`, { fields: { signal } });
    stop.abort(cancelled);
    setTimeout(() => {
      process.stderr.write(`error ${cancelled.code}: ${cancelled.message}\n`);
      leave();
    }, gracePeriodMs + overdueMs).unref();
  });
}
let unwritten: SdxlError | undefined;
// A reader or a terminal that went away (`sdxl inspect | head`) is no error, and the work goes on.
process.stdout.on('error', (cause: NodeJS.ErrnoException) => {
  if (cause.code === 'EPIPE' || cause.code === 'EIO') return;
  unwritten ??= new SdxlError('OUTPUT_UNWRITABLE', `stdout can't be written: ${cause.message}: free space where it leads to`, { cause });
});
// What can't be said can't be complained about either: the exit code tells.
process.stderr.on('error', () => undefined);

// The client of object storage runs on every Node this package does; that later ones of it won't is nothing to tell users.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
process.exitCode = await main(process.argv.slice(2));
setTimeout(() => process.exit(), lingerMs).unref();

async function main(args: readonly string[]): Promise<number> {
  const verbose = args.includes('--verbose');
  try {
    const [{ readEnvironment }, { runProgram }] = await Promise.all([import('../launch/index.js'), import('./program.js')]);
    const environment = { ...readEnvironment(), ...(verbose ? { logLevel: 'debug' as const } : {}) };
    gracePeriodMs = environment.gracePeriodMs;
    await runProgram({ environment, stdout: process.stdout, stderr: process.stderr, stop: stop.signal, kill: kill.signal }, args);
    await flushed(process.stdout);
    if (unwritten !== undefined) throw unwritten;
    return signalled() ?? ExitCode.success;
  } catch (thrown) {
    const error = toSdxlError(unloaded(thrown));
    const exitCode = error.code === 'CANCELLED' ? (signalled() ?? error.exitCode) : error.exitCode;
    await tellContainer(error, exitCode);
    const stack = verbose || error.code === 'INTERNAL' ? `\n${error.stack ?? ''}` : '';
    process.stderr.write(`${printable(`error ${error.code}: ${error.message}${hint(error)}${stack}`, 'lines')}\n`);
    return exitCode;
  }
}

/** Resolves once everything written so far has arrived or failed to. */
function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    // Errors are told in the turn after the write's own callback.
    stream.write('', () => setImmediate(resolve));
  });
}

/** Why the process ends, where Kubernetes looks for it. */
async function tellContainer(error: SdxlError, exitCode: number): Promise<void> {
  try {
    const { terminationLogPath, writeTerminationLog } = await import('../launch/index.js');
    const path = terminationLogPath();
    if (path !== undefined) await writeTerminationLog(path, error, exitCode);
  } catch (failure) {
    process.stderr.write(`the termination log could not be written: ${toSdxlError(failure).message}\n`);
  }
}

/** Where no more files may be opened, modules that are there are not found: the system's own error is told instead. */
function unloaded(thrown: unknown): unknown {
  if (!(thrown instanceof Error && 'code' in thrown && thrown.code === 'ERR_MODULE_NOT_FOUND')) return thrown;
  const { userLimits } = process.report.getReport() as { userLimits?: { open_files?: { soft: number | string } } };
  const limit = Number(userLimits?.open_files?.soft);
  if (!(limit < fewFiles)) return thrown;
  return Object.assign(new Error(`too many open files, at most ${String(limit)} may be`), { code: 'EMFILE' });
}

/** Leaves at once, as the signal would have it: to exit would wait for threads that wait for a file system. */
function leave(): void {
  const signal = received ?? 'SIGTERM';
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
  // The first process of a container is not ended so.
  process.exit(signalled());
}

function signalled(): number | undefined {
  if (received === undefined) return undefined;
  return received === 'SIGINT' ? ExitCode.interrupted : ExitCode.terminated;
}

function hint(error: SdxlError): string {
  if (error.code === 'INTERNAL') return ' (a defect of this program: please report it)';
  // The message says what to raise: that serves better than another attempt.
  if (error.fields['deadline'] !== undefined) return '';
  return error.retriable ? ' (a new attempt may succeed)' : '';
}
