/** Paths of fields as people write them: `spec.height`, `status.conditions[0].type`, `metadata.labels["a/b"]`. */

export type FieldPath = readonly (string | number)[];

export function formatPath(path: FieldPath): string {
  return path.reduce<string>((text, key) => {
    if (typeof key === 'number') return `${text}[${String(key)}]`;
    if (!/^[A-Za-z_][A-Za-z0-9_-]*$/u.test(key)) return `${text}[${JSON.stringify(key)}]`;
    return text === '' ? key : `${text}.${key}`;
  }, '');
}

/** The path of a JSON pointer into `root`, and the value there. */
export function resolvePointer(root: unknown, pointer: string): { path: FieldPath; value: unknown } {
  const path: (string | number)[] = [];
  let value = root;
  for (const token of pointer.split('/').slice(1)) {
    const key = token.replaceAll('~1', '/').replaceAll('~0', '~');
    if (Array.isArray(value)) {
      path.push(Number(key));
      value = value[Number(key)] as unknown;
    } else {
      path.push(key);
      value =
        typeof value === 'object' && value !== null && Object.hasOwn(value, key) ? (value as Record<string, unknown>)[key] : undefined;
    }
  }
  return { path, value };
}

/** A value as messages show it: JSON, cut where it gets long. Integers that a double does not hold were rounded when they were read. */
export function showValue(value: unknown): string {
  if (typeof value === 'number' && value > Number.MAX_SAFE_INTEGER) return `a number above ${String(Number.MAX_SAFE_INTEGER)}`;
  if (typeof value === 'number' || typeof value === 'bigint') return String(value);
  if (Array.isArray(value)) return `a list of ${String(value.length)}`;
  if (typeof value === 'object' && value !== null) return 'a map';
  const text = JSON.stringify(value) as string | undefined;
  if (text === undefined) return typeof value;
  const characters = Array.from(text.slice(0, 200));
  return characters.length <= 60 ? text : `${characters.slice(0, 57).join('')}…"`;
}
