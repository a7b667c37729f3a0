/** The process's log: structured lines on stderr. */
import { createLogger, format, transports } from 'winston';
import type { Log, LogLevel } from './controller/index.js';

export function openLog(level: LogLevel, style: 'json' | 'text', stream: NodeJS.WritableStream): Log {
  const text = format.printf((info) => {
    const { level: at, message, timestamp, ...fields } = info as Readonly<Record<string, unknown>>;
    const shown = Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
    return printable([String(timestamp), String(at).padEnd(5), String(message), ...shown].join(' '));
  });
  const logger = createLogger({
    level,
    format: format.combine(format.timestamp(), style === 'json' ? format.json() : text),
    transports: [new transports.Stream({ stream, eol: '\n' })],
  });
  return {
    log: (at, message, fields = {}) => {
      logger.log(at, message, fields);
    },
  };
}

/** Messages hold answers of servers and names of others: what would begin another line or command a terminal is escaped as in JSON. */
function printable(text: string): string {
  return text.replaceAll(
    /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
