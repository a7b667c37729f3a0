/** Reads scheduler_config.json field by field, and refuses by name what was not read. */
import { SdxlError } from '../errors/index.js';

/**
 * Fields that other samplers read and that have no meaning for the one at hand; published configurations carry them because they
 * were saved from another sampler. diffusers does not read them either.
 */
const foreignFields: ReadonlySet<string> = new Set([
  'clip_sample',
  'clip_sample_range',
  'dynamic_thresholding_ratio',
  'sample_max_value',
  'set_alpha_to_one',
  'skip_prk_steps',
]);

export class ConfigReader {
  readonly file: string;
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #read = new Set<string>();

  constructor(file: string, fields: Readonly<Record<string, unknown>>) {
    this.file = file;
    this.#fields = fields;
  }

  /** null counts as absent, as in diffusers. */
  #get(key: string): unknown {
    this.#read.add(key);
    return this.#fields[key] ?? undefined;
  }

  oneOf<T extends string>(key: string, allowed: readonly T[], standard: T): T {
    const value = this.#get(key);
    if (value === undefined) return standard;
    return allowed.find((item) => item === value) ?? this.#refuse(key, value, allowed.map((item) => JSON.stringify(item)).join(' or '));
  }

  integer(key: string, range: { readonly least: number; readonly most: number }, standard: number): number {
    const value = this.#get(key) ?? standard;
    if (typeof value === 'number' && Number.isInteger(value) && value >= range.least && value <= range.most) return value;
    return this.#refuse(key, value, `an integer from ${String(range.least)} to ${String(range.most)}`);
  }

  /** A number strictly between 0 and 1. */
  fraction(key: string, standard: number): number {
    const value = this.#get(key) ?? standard;
    if (typeof value === 'number' && value > 0 && value < 1) return value;
    return this.#refuse(key, value, 'a number between 0 and 1');
  }

  boolean(key: string, standard: boolean): boolean {
    const value = this.#get(key) ?? standard;
    return typeof value === 'boolean' ? value : this.#refuse(key, value, 'true or false');
  }

  /** A switch that may only be off. */
  off(key: string): void {
    const value = this.#get(key) ?? false;
    if (value !== false) this.#refuse(key, value, 'false');
  }

  /** A field that may only be null or missing. */
  absent(key: string): void {
    const value = this.#get(key);
    if (value !== undefined) this.#refuse(key, value, 'null');
  }

  /** Call last. Fields that begin with an underscore describe the file, not the sampler. */
  requireAllRead(): void {
    const left = Object.keys(this.#fields).find((key) => !this.#read.has(key) && !foreignFields.has(key) && !key.startsWith('_'));
    if (left !== undefined) this.#refuse(left, this.#fields[left], 'no such field');
  }

  #refuse(field: string, value: unknown, allowed: string): never {
    const shown = value === undefined ? 'nothing' : JSON.stringify(value);
    throw new SdxlError('MODEL_UNSUPPORTED', `${this.file}: ${field} is ${shown}; supported: ${allowed}`, {
      fields: { file: this.file, field, value: shown, allowed },
    });
  }
}
