/** The process's log: structured lines on stderr. */
import { createLogger, format, transports } from 'winston';
import type { Log, LogLevel } from './controller/index.js';

export function openLog(level: LogLevel, style: 'json' | 'text', stream: NodeJS.WritableStream): Log {
  const text = format.printf((info) => {
    const { level: at, message, timestamp, ...fields } = info as Readonly<Record<string, unknown>>;
    const shown = Object.entries(fields).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
    return [String(timestamp), String(at).padEnd(5), String(message), ...shown].join(' ');
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
