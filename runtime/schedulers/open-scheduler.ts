/** From a diffusers scheduler folder to a scheduler. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import { ConfigReader } from './config-reader.js';
import { EulerDiscreteScheduler, readEulerDiscreteConfig } from './euler-discrete.js';
import type { Scheduler } from './scheduler.js';

/** One row per supported class. */
const schedulers: Readonly<Record<string, (reader: ConfigReader) => Scheduler>> = {
  EulerDiscreteScheduler: (reader) => new EulerDiscreteScheduler(readEulerDiscreteConfig(reader)),
};
export const supportedSchedulers: readonly string[] = Object.keys(schedulers);

/**
 * Reads `scheduler_config.json` of a scheduler folder.
 * @throws SdxlError MODEL_NOT_FOUND where it can't be read, MODEL_UNSUPPORTED naming the field, its value and what is allowed.
 */
export async function openScheduler(directory: string): Promise<Scheduler> {
  const file = join(directory, 'scheduler_config.json');
  let document: unknown;
  try {
    document = JSON.parse(await readFile(file, 'utf8'));
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw new SdxlError('MODEL_NOT_FOUND', `${file} can't be read (${problem}): check the model's directory`, { fields: { file }, cause });
  }
  return createScheduler(file, document);
}

/** Makes the scheduler of a parsed configuration; `file` is what errors name. */
export function createScheduler(file: string, document: unknown): Scheduler {
  const fields: Readonly<Record<string, unknown>> = typeof document === 'object' && document !== null ? { ...document } : {};
  const className = fields['_class_name'];
  const make = typeof className === 'string' && Object.hasOwn(schedulers, className) ? schedulers[className] : undefined;
  if (make === undefined) {
    const shown = className === undefined ? 'nothing' : JSON.stringify(className);
    const allowed = supportedSchedulers.join(', ');
    throw new SdxlError('MODEL_UNSUPPORTED', `${file}: _class_name is ${shown}; supported: ${allowed}`, {
      fields: { file, field: '_class_name', value: shown, allowed },
    });
  }
  const reader = new ConfigReader(file, fields);
  const scheduler = make(reader);
  reader.requireAllRead();
  return scheduler;
}
