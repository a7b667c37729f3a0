/** The part of a CRD's `openAPIV3Schema` that this project uses, and its translation to closed JSON Schema. */

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };

/** A rule of `x-kubernetes-validations`. Rules that use `oldSelf` apply to updates only. */
export interface ValidationRule {
  readonly rule: string;
  readonly message: string;
  readonly messageExpression?: string;
  /** Path relative to the schema that holds the rule, such as `.height`. */
  readonly fieldPath?: string;
}

export interface StructuralSchema {
  readonly type: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly description?: string;
  readonly example?: JsonValue;
  readonly format?: 'int32' | 'int64' | 'date-time';
  readonly default?: JsonValue;
  readonly nullable?: boolean;
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly multipleOf?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly items?: StructuralSchema;
  readonly properties?: Readonly<Record<string, StructuralSchema>>;
  readonly additionalProperties?: StructuralSchema;
  readonly required?: readonly string[];
  readonly 'x-kubernetes-validations'?: readonly ValidationRule[];
  readonly 'x-kubernetes-list-type'?: 'map' | 'atomic' | 'set';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
}

/** Keywords of a structural schema that are not JSON Schema. */
export const kubernetesKeywords = ['x-kubernetes-validations', 'x-kubernetes-list-type', 'x-kubernetes-list-map-keys', 'example'] as const;

/**
 * The same schema as JSON Schema in which unknown fields are errors. The API server prunes them (or refuses them, as kubectl
 * asks it to); a command line must refuse them.
 */
export function closed(schema: StructuralSchema): Readonly<Record<string, unknown>> {
  const { properties, items, additionalProperties, ...rest } = schema;
  return {
    ...rest,
    ...(properties === undefined ? {} : { properties: mapValues(properties, closed), additionalProperties: false }),
    ...(additionalProperties === undefined ? {} : { additionalProperties: closed(additionalProperties) }),
    ...(items === undefined ? {} : { items: closed(items) }),
  };
}

/** The schema at `path`, or undefined where the schema says nothing. */
export function schemaAt(schema: StructuralSchema, path: readonly (string | number)[]): StructuralSchema | undefined {
  let at: StructuralSchema | undefined = schema;
  for (const key of path) {
    if (at === undefined) return undefined;
    at = typeof key === 'number' ? at.items : (ownProperty(at.properties, key) ?? at.additionalProperties);
  }
  return at;
}

export function ownProperty<T>(record: Readonly<Record<string, T>> | undefined, key: string): T | undefined {
  return record !== undefined && Object.hasOwn(record, key) ? record[key] : undefined;
}

function mapValues<T, U>(record: Readonly<Record<string, T>>, map: (value: T) => U): Record<string, U> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, map(value)]));
}
