/**
 * Defaulting as the API server does it: parents before children, and a field that is null counts as absent unless
 * its schema allows null.
 */
import { ownProperty, type StructuralSchema } from './structural-schema.js';

/** A frozen copy of `value` with the schema's defaults filled in. What does not fit the schema is kept as it is, for the validator to name. */
export function withDefaults(schema: StructuralSchema, value: unknown): unknown {
  if (Array.isArray(value)) {
    const { items } = schema;
    return items === undefined ? value : Object.freeze(value.map((item: unknown) => withDefaults(items, item)));
  }
  if (!isPlainObject(value)) return value;
  const filled = new Map<string, unknown>();
  for (const [key, child] of Object.entries(value)) {
    const childSchema = ownProperty(schema.properties, key) ?? schema.additionalProperties;
    if (childSchema === undefined) filled.set(key, child);
    else if (child !== null || childSchema.nullable === true) filled.set(key, withDefaults(childSchema, child));
  }
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    if (property.default !== undefined && !filled.has(key)) filled.set(key, withDefaults(property, property.default));
  }
  return Object.freeze(Object.fromEntries(filled));
}

export function isPlainObject(value: unknown): value is Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}
