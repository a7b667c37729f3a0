/** From a diffusers scheduler folder to a scheduler. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import { ConfigReader, snakeCase } from './config-reader.js';
import { openDdim } from './samplers/ddim.js';
import { openDdpm } from './samplers/ddpm.js';
import { openDeisMultistep } from './samplers/deis-multistep.js';
import { openDpmSolverMultistep } from './samplers/dpm-solver-multistep.js';
import { openDpmSolverSinglestep } from './samplers/dpm-solver-singlestep.js';
import { openEulerAncestralDiscrete } from './samplers/euler-ancestral-discrete.js';
import { openEulerDiscrete } from './samplers/euler-discrete.js';
import { openLcm } from './samplers/lcm.js';
import { openLmsDiscrete } from './samplers/lms-discrete.js';
import { openPndm } from './samplers/pndm.js';
import type { Scheduler } from './scheduler.js';
import { openTcd } from './samplers/tcd.js';
import { openHeunDiscrete, openKdpm2AncestralDiscrete, openKdpm2Discrete } from './samplers/second-order.js';
import { openUniPcMultistep } from './samplers/unipc-multistep.js';

/** One row per supported class. */
const schedulers: Readonly<Record<string, (reader: ConfigReader) => Scheduler>> = {
  EulerDiscreteScheduler: openEulerDiscrete,
  EulerAncestralDiscreteScheduler: openEulerAncestralDiscrete,
  DDIMScheduler: openDdim,
  DPMSolverMultistepScheduler: openDpmSolverMultistep,
  UniPCMultistepScheduler: openUniPcMultistep,
  LCMScheduler: openLcm,
  DDPMScheduler: openDdpm,
  DEISMultistepScheduler: openDeisMultistep,
  DPMSolverSinglestepScheduler: openDpmSolverSinglestep,
  HeunDiscreteScheduler: openHeunDiscrete,
  KDPM2DiscreteScheduler: openKdpm2Discrete,
  KDPM2AncestralDiscreteScheduler: openKdpm2AncestralDiscrete,
  LMSDiscreteScheduler: openLmsDiscrete,
  PNDMScheduler: openPndm,
  TCDScheduler: openTcd,
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
    document = parseSchedulerConfig(await readFile(file, 'utf8'));
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw new SdxlError('MODEL_NOT_FOUND', `${file} can't be read (${problem}): check the model's directory`, { fields: { file }, cause });
  }
  return createScheduler(file, document);
}

/**
 * Parses the text of a scheduler_config.json. Python writes an unclipped `lambda_min_clipped` as -Infinity, which JSON does not know;
 * it is read as that text.
 */
export function parseSchedulerConfig(text: string): unknown {
  const stringsAndInfinities = /"(?:[^"\\]|\\.)*"|-Infinity/gu;
  return JSON.parse(text.replaceAll(stringsAndInfinities, (found) => (found === '-Infinity' ? '"-Infinity"' : found)));
}

/** What a job says about its sampler. */
export interface SchedulerChoice {
  /** The class in diffusers; undefined: the one that the file names. */
  readonly className?: string | undefined;
  /** Fields to take instead of the file's: the file's names in camelCase, the file's values. */
  readonly options?: Readonly<Record<string, string | number | boolean>> | undefined;
}

/**
 * Makes the scheduler of a parsed configuration; `file` is what errors name. Another class than the file's takes the file's fields as
 * diffusers' `from_config` does: fields that class does not have are left, fields it has and the file has not take its defaults.
 * @throws SdxlError MODEL_UNSUPPORTED naming the file's field, JOB_INVALID naming the option
 */
export function createScheduler(file: string, document: unknown, { className, options = {} }: SchedulerChoice = {}): Scheduler {
  const fields: Record<string, unknown> = typeof document === 'object' && document !== null ? { ...document } : {};
  const name = className ?? fields['_class_name'];
  const make = typeof name === 'string' && Object.hasOwn(schedulers, name) ? schedulers[name] : undefined;
  if (make === undefined) {
    const shown = name === undefined ? 'nothing' : JSON.stringify(name);
    const allowed = supportedSchedulers.join(', ');
    throw new SdxlError('MODEL_UNSUPPORTED', `${file}: _class_name is ${shown}; supported: ${allowed}`, {
      fields: { file, field: '_class_name', value: shown, allowed },
    });
  }
  // Fields that the file's author left to the defaults of the class it was saved from.
  const defaulted: unknown = fields['_use_default_values'];
  const left: readonly unknown[] = Array.isArray(defaulted) ? defaulted : [];
  const given = Object.fromEntries(Object.entries(fields).filter(([field]) => !left.includes(field)));
  const optionFields = new Map(Object.entries(options).map(([option, value]) => [snakeCase(option), value]));
  const reader = new ConfigReader(file, { ...given, _class_name: name }, optionFields);
  const scheduler = make(reader);
  reader.requireAllRead();
  return scheduler;
}
