/** The operator's log, as its parts see it. */

export type LogLevel = 'error' | 'warn' | 'info' | 'debug';

export interface Log {
  log(level: LogLevel, message: string, fields?: Readonly<Record<string, string | number | boolean | undefined>>): void;
}

export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
