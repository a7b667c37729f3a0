/** The log: one winston logger for each process that talks to people, on stderr; results alone go to stdout. */
import type { Writable } from 'node:stream';
import { createLogger as createWinston, format, transports, type Logger } from 'winston';
import { printable } from '../errors/index.js';

export const logLevels = ['error', 'warn', 'info', 'debug'] as const;
export type LogLevel = (typeof logLevels)[number];
export const logFormats = ['text', 'json'] as const;
export type LogFormat = (typeof logFormats)[number];

export type LogFields = Readonly<Record<string, string | number | boolean | readonly (string | number)[]>>;

/** What the rest of the program sees of a logger. */
export interface Log {
  log(level: LogLevel, message: string, fields?: LogFields): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: LogFormat;
  readonly stream: Writable;
  /** Added to every line: the job's name. */
  readonly fields?: LogFields;
}

export function createLog({ level, format: style, stream, fields = {} }: LogOptions): Log {
  const logger: Logger = createWinston({
    level,
    defaultMeta: fields,
    format:
      style === 'json' ? format.combine(format.timestamp(), format.json()) : format.combine(format.timestamp(), format.printf(printLine)),
    transports: [new transports.Stream({ stream, eol: '\n' })],
  });
  return {
    log: (at, message, more = {}) => {
      logger.log(at, message, more);
    },
  };
}

function printLine(info: Readonly<Record<string, unknown>>): string {
  const { level, message, timestamp, ...fields } = info;
  const shown = Object.entries(fields).map(
    ([name, value]) => `${name}=${typeof value === 'string' && !/[\s"=]/u.test(value) ? value : JSON.stringify(value)}`,
  );
  return printable([String(timestamp), String(level).padEnd(5), String(message), ...shown].join(' '));
}
