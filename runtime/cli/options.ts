/** Options of every command that starts ranks, and the form of examples in help texts. */
import type { Command } from 'commander';
import { bytes, directory, integerIn } from './numbers.js';

export function addRunOptions(command: Command): Command {
  return command
    .option(
      '--cache-dir <dir>',
      'where engines and digests are kept (default: SDXL_CACHE_DIR, or sdxl-operator in the user’s cache)',
      directory,
    )
    .option('--threads <count>', 'threads of each rank (default: processors divided by ranks)', integerIn(1, 1024))
    .option('--memory-limit <size>', 'memory all ranks here may use, such as 24Gi (default: what limits and machine leave)', bytes)
    .option(
      '--metrics-port <port>',
      'serve /metrics, /healthz and /status; 0 takes a free port (default: SDXL_METRICS_PORT, or off)',
      integerIn(0, 65_535),
    );
}

export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  ${line}`).join('\n')}\n`;
}
