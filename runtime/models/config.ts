/**
 * Reads a component's config.json strictly: every field is either used, or must hold the value under which ignoring it is
 * right. A field this runtime does not know is refused unless it is off (null, false, empty), so that no config is half obeyed.
 */
import { SdxlError } from '../errors/index.js';

export type JsonValue = null | boolean | number | string | readonly JsonValue[] | { readonly [key: string]: JsonValue };
export type JsonObject = Readonly<Record<string, JsonValue>>;

export class ConfigReader {
  readonly #json: JsonObject;
  readonly #source: string;
  readonly #used = new Set<string>();

  /** `source` names the file in errors. */
  constructor(json: JsonObject, source: string) {
    this.#json = json;
    this.#source = source;
  }

  integer(field: string, fallback?: number): number {
    const value = this.#take(field, fallback);
    if (typeof value !== 'number' || !Number.isInteger(value) || value < 1) return this.#refuse(field, value, 'a positive integer');
    return value;
  }

  number(field: string, fallback?: number): number {
    const value = this.#take(field, fallback);
    if (typeof value !== 'number') return this.#refuse(field, value, 'a number');
    return value;
  }

  boolean(field: string, fallback?: boolean): boolean {
    const value = this.#take(field, fallback);
    if (typeof value !== 'boolean') return this.#refuse(field, value, 'true or false');
    return value;
  }

  oneOf<const T extends string>(field: string, allowed: readonly T[], fallback?: T): T {
    const value = this.#take(field, fallback);
    const found = allowed.find((candidate) => candidate === value);
    return found ?? this.#refuse(field, value, allowed.map((name) => JSON.stringify(name)).join(' or '));
  }

  integers(field: string): number[] {
    const value = this.#take(field);
    if (!Array.isArray(value) || value.length === 0 || !value.every((item): item is number => Number.isInteger(item) && Number(item) > 0)) {
      return this.#refuse(field, value, 'a list of positive integers');
    }
    return [...value];
  }

  /** A list of `length`, or one integer that stands for all of them. */
  integerPerLevel(field: string, length: number, fallback?: number): number[] {
    const value = this.#take(field, fallback);
    const list = typeof value === 'number' ? Array.from({ length }, () => value) : value;
    if (!Array.isArray(list) || list.length !== length || !list.every((item): item is number => Number.isInteger(item) && Number(item) > 0)) {
      return this.#refuse(field, value, `a positive integer or a list of ${String(length)}`);
    }
    return [...list];
  }

  listOf<const T extends string>(field: string, allowed: readonly T[], length?: number): T[] {
    const value = this.#take(field);
    const what = `a list of ${length === undefined ? '' : `${String(length)} of `}${allowed.join(', ')}`;
    if (!Array.isArray(value) || (length !== undefined && value.length !== length)) return this.#refuse(field, value, what);
    return value.map((item) => allowed.find((name) => name === item) ?? this.#refuse(field, value, what));
  }

  /** The field must be absent or hold one of these values. */
  only(field: string, ...allowed: readonly JsonValue[]): void {
    const value = this.#json[field];
    this.#used.add(field);
    if (value !== undefined && !allowed.some((candidate) => JSON.stringify(candidate) === JSON.stringify(value))) {
      this.#refuse(field, value, allowed.map((item) => JSON.stringify(item)).join(' or '));
    }
  }

  /** Fields that change nothing at inference. */
  ignore(...fields: readonly string[]): void {
    for (const field of fields) this.#used.add(field);
  }

  /** Refuses what is left over. Call last. */
  finish(): void {
    for (const [field, value] of Object.entries(this.#json)) {
      const off = value === null || value === false || (Array.isArray(value) && value.length === 0);
      if (!this.#used.has(field) && !field.startsWith('_') && !off) this.#refuse(field, value, 'null (this field is not supported)');
    }
  }

  refuse(field: string, allowed: string): never {
    return this.#refuse(field, this.#json[field] ?? null, allowed);
  }

  #take(field: string, fallback?: JsonValue): JsonValue {
    this.#used.add(field);
    const value = this.#json[field];
    return value === undefined || (value === null && fallback !== undefined) ? (fallback ?? null) : value;
  }

  #refuse(field: string, value: JsonValue, allowed: string): never {
    throw new SdxlError('MODEL_UNSUPPORTED', `${this.#source}: ${field} is ${JSON.stringify(value)}, supported: ${allowed}`, {
      fields: { file: this.#source, field, value: JSON.stringify(value), allowed },
    });
  }
}
