/** Parsers of option values, most of them of numbers. What the contract checks is only read here; its validator says what is wrong with it. */
import { InvalidArgumentError } from 'commander';

export function integer(text: string): number {
  if (!/^[+-]?\d+$/u.test(text)) throw new InvalidArgumentError('an integer is expected.');
  const value = Number(text);
  // Beyond, it would be another number than the one given.
  if (!Number.isSafeInteger(value)) throw new InvalidArgumentError(`an integer of at most ${String(Number.MAX_SAFE_INTEGER)} is expected.`);
  return value;
}

export function integerIn(minimum: number, maximum: number): (text: string) => number {
  return (text) => {
    const value = integer(text);
    if (value >= minimum && value <= maximum) return value;
    throw new InvalidArgumentError(`an integer from ${String(minimum)} to ${String(maximum)} is expected.`);
  };
}

/** `1,2,4`. */
export function integers(text: string): number[] {
  const values = text.split(',').map((part) => integerIn(1, 64)(part.trim()));
  if (new Set(values).size !== values.length) throw new InvalidArgumentError('each number may be given once.');
  return values;
}

export type Pair<Name extends string> = Readonly<Record<Name, number>>;

/** `512,768`, as diffusers orders the two. */
export function integerPair<Name extends string>(first: Name, second: Name): (text: string) => Pair<Name> {
  return (text) => {
    const [a, b, ...more] = text.split(',');
    if (a === undefined || b === undefined || more.length > 0) throw new InvalidArgumentError(`${first},${second} is expected.`);
    return { [first]: integer(a.trim()), [second]: integer(b.trim()) } as Pair<Name>;
  };
}

/** From 0 up to, but not including, 1. */
export function ratio(text: string): number {
  const value = /^\d*\.?\d+$/u.test(text) ? Number(text) : Number.NaN;
  if (value >= 0 && value < 1) return value;
  throw new InvalidArgumentError('a number from 0 to less than 1 is expected.');
}

const units: Readonly<Record<string, number>> = { '': 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** `24Gi`, `512MiB`, `1073741824`: powers of 1024, as in Kubernetes. */
export function bytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(?:([kmgt])i?b?|b)?$/iu.exec(text);
  if (match === null) throw new InvalidArgumentError('a size such as 24Gi or 512Mi is expected.');
  return Math.floor(Number(match[1]) * (units[(match[2] ?? '').toLowerCase()] ?? 1));
}

/** A value of which there is one: a second would silently take the place of the first. */
export function once(text: string, previous: string | undefined): string {
  if (previous !== undefined) throw new InvalidArgumentError(`it may be given once, and '${previous}' was given before.`);
  return text;
}

/** A directory, not the empty text that a variable which is not set leaves: it would mean the working directory. */
export function directory(text: string): string {
  if (text === '') throw new InvalidArgumentError('a directory is expected.');
  return text;
}

/** `name=value`, gathered: true, false and integers are such, anything else is text. */
export function field(
  text: string,
  fields: Readonly<Record<string, string | number | boolean>> = {},
): Record<string, string | number | boolean> {
  const [, name, value = ''] = /^([A-Za-z][A-Za-z0-9]*)=(.*)$/su.exec(text) ?? [];
  if (name === undefined) throw new InvalidArgumentError('a name, = and a value are expected.');
  if (Object.hasOwn(fields, name)) throw new InvalidArgumentError(`${name} may be given once.`);
  const parsed = value === 'true' || value === 'false' ? value === 'true' : /^-?\d{1,15}$/u.test(value) ? Number(value) : value;
  return { ...fields, [name]: parsed };
}
