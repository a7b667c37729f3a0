/** Reads scheduler_config.json field by field, and refuses by name what was not read. */
import { SdxlError } from '../errors/index.js';

/**
 * Fields that other samplers of diffusers read and that have no meaning for the one at hand; published configurations carry them
 * because they were saved from another sampler. diffusers does not read them either.
 */
const foreignFields: ReadonlySet<string> = new Set([
  'algorithm_type',
  'clip_sample',
  'clip_sample_range',
  'disable_corrector',
  'dynamic_thresholding_ratio',
  'euler_at_final',
  'final_sigmas_type',
  'flow_shift',
  'interpolation_type',
  'lambda_min_clipped',
  'lower_order_final',
  'original_inference_steps',
  'predict_x0',
  'rescale_betas_zero_snr',
  'sample_max_value',
  'set_alpha_to_one',
  'shift_terminal',
  'sigma_max',
  'sigma_min',
  'skip_prk_steps',
  'solver_order',
  'solver_p',
  'solver_type',
  'steps_offset',
  'thresholding',
  'time_shift_type',
  'timestep_scaling',
  'timestep_spacing',
  'timestep_type',
  'use_beta_sigmas',
  'use_dynamic_shifting',
  'use_exponential_sigmas',
  'use_flow_sigmas',
  'use_karras_sigmas',
  'use_lu_lambdas',
  'variance_type',
]);

export class ConfigReader {
  readonly #file: string;
  readonly #fields: Readonly<Record<string, unknown>>;
  readonly #options: ReadonlyMap<string, unknown>;
  readonly #read = new Set<string>();

  /** @param options Fields of the job that stand for the file's, by the file's names. */
  constructor(file: string, fields: Readonly<Record<string, unknown>>, options: ReadonlyMap<string, unknown>) {
    this.#file = file;
    this.#fields = { ...fields, ...Object.fromEntries(options) };
    this.#options = options;
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

  /** A number from 0 to 1. */
  share(key: string, standard: number): number {
    const value = this.#get(key) ?? standard;
    if (typeof value === 'number' && value >= 0 && value <= 1) return value;
    return this.#refuse(key, value, 'a number from 0 to 1');
  }

  positive(key: string, standard: number): number {
    const value = this.#get(key) ?? standard;
    return typeof value === 'number' && value > 0 && Number.isFinite(value) ? value : this.#refuse(key, value, 'a positive number');
  }

  integers(key: string, standard: readonly number[]): readonly number[] {
    const value = this.#get(key) ?? standard;
    const isIndex = (item: unknown): item is number => typeof item === 'number' && Number.isInteger(item) && item >= 0;
    return Array.isArray(value) && value.every(isIndex) ? value : this.#refuse(key, value, 'a list of step numbers');
  }

  boolean(key: string, standard: boolean): boolean {
    const value = this.#get(key) ?? standard;
    return typeof value === 'boolean' ? value : this.#refuse(key, value, 'true or false');
  }

  /** A switch that may only be off, perhaps for the reason of another field; `standard` is what its absence means. */
  off(key: string, { standard = false, because = '' }: { readonly standard?: boolean; readonly because?: string } = {}): void {
    const given = this.#get(key);
    if ((given ?? standard) !== false) this.#refuse(key, given ?? `absent, which means ${String(standard)}`, `false${because}`);
  }

  /** A switch that may only be on; `standard` is what its absence means. */
  on(key: string, { standard = true }: { readonly standard?: boolean } = {}): void {
    const given = this.#get(key);
    if ((given ?? standard) !== true) this.#refuse(key, given ?? `absent, which means ${String(standard)}`, 'true');
  }

  /** A number that may only be −∞, which its absence means too. */
  negativeInfinity(key: string): void {
    const value = this.#get(key) ?? '-Infinity';
    if (value !== '-Infinity') this.#refuse(key, value, '-Infinity');
  }

  /** A field that may only be null or missing. */
  absent(key: string): void {
    const value = this.#get(key);
    if (value !== undefined) this.#refuse(key, value, 'null');
  }

  /** Call last. Fields that begin with an underscore describe the file, not the sampler. An option must be read, even if the file may carry it. */
  requireAllRead(): void {
    const unread = Object.keys(this.#fields).filter((key) => !this.#read.has(key));
    const left = unread.find((key) => this.#options.has(key) || (!foreignFields.has(key) && !key.startsWith('_')));
    if (left !== undefined) this.#refuse(left, this.#fields[left], 'no such field');
  }

  #refuse(field: string, value: unknown, allowed: string): never {
    const shown = value === undefined ? 'nothing' : JSON.stringify(value);
    if (this.#options.has(field)) {
      const option = `schedulerOptions.${camelCase(field)}`;
      const sampler = String(this.#fields['_class_name']);
      throw new SdxlError('JOB_INVALID', `${option} is ${shown}; ${sampler} supports: ${allowed}`, {
        fields: { field: option, value: shown, allowed },
      });
    }
    throw new SdxlError('MODEL_UNSUPPORTED', `${this.#file}: ${field} is ${shown}; supported: ${allowed}`, {
      fields: { file: this.#file, field, value: shown, allowed },
    });
  }
}

/** `solverOrder` → `solver_order`. */
export function snakeCase(name: string): string {
  return name.replaceAll(/[A-Z]/gu, (letter) => `_${letter.toLowerCase()}`);
}

function camelCase(name: string): string {
  return name.replaceAll(/_([a-z0-9])/gu, (_, letter: string) => letter.toUpperCase());
}
