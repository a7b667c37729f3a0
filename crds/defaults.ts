/** Defaulting as the API server does it: parents before children, and null counts as absent where null is not allowed. */
import { ownProperty, type StructuralSchema } from './structural-schema.js';

/** A frozen copy of `value` with the schema's defaults filled in. What does not fit the schema is kept as it is, for the validator to name. */
export function withDefaults(schema: StructuralSchema, value: unknown): unknown {
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined ? value : Object.freeze(value.map((item: unknown) => withDefaults(items, item)));
  }
  if (!isPlainObject(value)) return value;
  const entries = new Map(Object.entries(value));
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    const given = entries.get(key);
    const absent = given === undefined || (given === null && property.nullable !== true);
    if (property.default !== undefined && absent) entries.set(key, structuredClone(property.default));
  }
  const filled = [...entries].map(([key, child]): [string, unknown] => {
    const childSchema = ownProperty(schema.properties, key) ?? schema.additionalProperties;
    return [key, childSchema === undefined ? child : withDefaults(childSchema, child)];
  });
  return Object.freeze(Object.fromEntries(filled));
}

export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
