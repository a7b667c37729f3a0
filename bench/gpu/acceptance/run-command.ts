/** Runs a command with everything it starts, shows what it says, and ends all of it at a deadline. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';

export interface CommandEnd {
  /** Undefined: it was ended at the deadline, or could not be started. */
  readonly code: number | undefined;
  readonly output: string;
  readonly seconds: number;
}

/** Between asking a process to end and ending it. */
const graceMs = 10_000;

export async function runCommand([program = '', ...args]: readonly string[], deadlineMs: number): Promise<CommandEnd> {
  const started = performance.now();
  // A group of its own, so that its ranks end with it.
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      process.stderr.write(text);
    });
  }
  child.once('error', (error) => (output += `${error.message}\n`));
  const late = new AbortController();
  const finished = new AbortController();
  const watch = async (): Promise<void> => {
    await delay(deadlineMs, undefined, { signal: finished.signal });
    late.abort();
    endGroup(child.pid, 'SIGTERM');
    await delay(graceMs, undefined, { signal: finished.signal });
    endGroup(child.pid, 'SIGKILL');
  };
  const watched = watch().catch(() => undefined); // It ended by itself.
  const interrupt = (): void => endGroup(child.pid, 'SIGTERM');
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  const [code] = (await once(child, 'close').catch(() => [null])) as [number | null];
  finished.abort();
  await watched;
  process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  const seconds = (performance.now() - started) / 1000;
  return { code: late.signal.aborted ? undefined : (code ?? undefined), output: `${output}\nwall ${seconds.toFixed(1)} s\n`, seconds };
}

function endGroup(pid: number | undefined, signal: 'SIGTERM' | 'SIGKILL'): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // The last of the group has ended meanwhile.
  }
}
