/** Turns ajv's errors into messages that name the field, the value found and what is allowed; one message per field. */
import type { ErrorObject } from 'ajv';
import { formatPath, resolvePointer, showValue, type FieldPath } from './field-path.js';
import { inWords } from './pattern-words.js';
import { ownProperty, schemaAt, type StructuralSchema } from './structural-schema.js';
import { nearest, nearestValue } from './suggest.js';

export interface Problem {
  readonly path: FieldPath;
  readonly value: unknown;
  readonly message: string;
}

/** Where one field breaks several rules, the first of these says it best. */
const precedence = [
  'additionalProperties',
  'required',
  'type',
  'enum',
  'minLength',
  'maxLength',
  'minimum',
  'maximum',
  'multipleOf',
  'format',
  'pattern',
];

export function schemaProblems(root: StructuralSchema, value: unknown, errors: readonly ErrorObject[]): Problem[] {
  const ranked = errors
    .map((error) => ({ error, rank: precedence.indexOf(error.keyword) }))
    .sort((a, b) => (a.rank < 0 ? precedence.length : a.rank) - (b.rank < 0 ? precedence.length : b.rank));
  const problems = new Map<string, Problem>();
  for (const { error } of ranked) {
    const problem = describe(root, value, error);
    const key = JSON.stringify(problem.path);
    if (!problems.has(key)) problems.set(key, problem);
  }
  return [...problems.values()].sort((a, b) => (formatPath(a.path) < formatPath(b.path) ? -1 : 1));
}

function describe(root: StructuralSchema, document: unknown, error: ErrorObject): Problem {
  const { path, value } = resolvePointer(document, error.instancePath);
  const schema = schemaAt(root, path);
  const parameters = error.params as Record<string, unknown>;
  if (error.keyword === 'required') {
    const field = String(parameters['missingProperty']);
    const missing = schemaAt(root, [...path, field]);
    return { path: [...path, field], value: undefined, message: `is required${described(missing)}${example(missing)}` };
  }
  if (error.keyword === 'additionalProperties') {
    const field = String(parameters['additionalProperty']);
    const unknown = [...path, field];
    return { path: unknown, value: resolveChild(value, field), message: unknownField(root, path, field) };
  }
  return {
    path,
    value,
    message: schema === undefined ? `${showValue(value)} ${error.message ?? 'is not valid'}` : rule(error.keyword, schema, value),
  };
}

function rule(keyword: string, schema: StructuralSchema, value: unknown): string {
  const found = showValue(value);
  switch (keyword) {
    case 'type':
      return wrongType(schema, value);
    case 'enum': {
      const allowed = schema.enum ?? [];
      const hint = typeof value === 'string' ? nearestValue(value, allowed) : undefined;
      const names = allowed.length === 1 ? String(allowed[0]) : `one of ${allowed.join(', ')}`;
      return `${found} is not known, it must be ${names}${hint === undefined || allowed.length === 1 ? '' : `; did you mean ${hint}?`}`;
    }
    case 'minLength':
      return value === ''
        ? `is empty${described(schema)}${example(schema)}`
        : `${found} is too short, it must have at least ${String(schema.minLength)} characters`;
    case 'maxLength':
      return `${found} has ${String(Array.from(String(value)).length)} characters, at most ${String(schema.maxLength)} are allowed`;
    case 'minimum':
    case 'maximum':
      return `${found} is out of range, it must be ${range(schema)}`;
    case 'multipleOf':
      return `${found} is not a multiple of ${String(schema.multipleOf)}, ${nearestMultiples(schema, Number(value))}`;
    case 'maxItems':
      return `${found} is too long, at most ${String(schema.maxItems)} items are allowed`;
    case 'maxProperties':
      return `${found} is too large, at most ${String(schema.maxProperties)} entries are allowed`;
    case 'pattern':
      return `${found} must ${inWords(String(schema.pattern))}${example(schema)}`;
    default:
      return `${found} is not a valid ${schema.format ?? keyword}`;
  }
}

function wrongType(schema: StructuralSchema, value: unknown): string {
  const found = value === null ? 'null' : `${showValue(value)} (${typeName(value)})`;
  if (schema.type === 'string' && (typeof value === 'number' || typeof value === 'boolean')) {
    return `${found} must be a string: write it in quotes${example(schema)}`;
  }
  if (schema.type === 'integer' && typeof value === 'string' && /^-?[0-9]+$/u.test(value)) {
    return `${found} must be an integer: write it without quotes`;
  }
  const article = schema.type === 'integer' || schema.type === 'object' || schema.type === 'array';
  const expected = {
    object: 'a map of fields',
    array: 'a list',
    string: 'a string',
    integer: `an integer${bounded(schema)}`,
    boolean: 'true or false',
  };
  return `${found} must be ${expected[schema.type]}${article ? '' : example(schema)}`;
}

function typeName(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'number') return 'a number';
  if (typeof value === 'object') return 'a map';
  return `a ${typeof value}`;
}

function bounded(schema: StructuralSchema): string {
  return schema.minimum === undefined && schema.maximum === undefined ? '' : ` ${range(schema)}`;
}

function range({ minimum, maximum, multipleOf }: StructuralSchema): string {
  const bounds =
    minimum !== undefined && maximum !== undefined
      ? `from ${String(minimum)} to ${String(maximum)}`
      : minimum === undefined
        ? `at most ${String(maximum)}`
        : `at least ${String(minimum)}`;
  return multipleOf === undefined ? bounds : `${bounds} and a multiple of ${String(multipleOf)}`;
}

function nearestMultiples({ multipleOf = 1, minimum = -Infinity, maximum = Infinity }: StructuralSchema, value: number): string {
  const below = Math.floor(value / multipleOf) * multipleOf;
  const near = [below, below + multipleOf].filter((candidate) => candidate >= minimum && candidate <= maximum);
  return near.length === 1 ? `the nearest is ${near.join('')}` : `the nearest are ${near.join(' and ')}`;
}

function unknownField(root: StructuralSchema, parent: FieldPath, field: string): string {
  const siblings = Object.keys(schemaAt(root, parent)?.properties ?? {});
  const sibling = nearest(field, siblings);
  if (sibling !== undefined) return `is an unknown field; did you mean ${sibling}?`;
  // Nobody writes the status by hand.
  const written = fieldsNamed(root, field, []).filter(([first]) => first !== 'status');
  const namesakes = written.filter((path) => path.at(-1) === field);
  const elsewhere = (namesakes.length > 0 ? namesakes : written).map(formatPath);
  if (elsewhere.length > 0) return `is an unknown field here; did you mean ${elsewhere.slice(0, 3).join(' or ')}?`;
  return `is an unknown field; known ones are ${siblings.join(', ')}`;
}

function fieldsNamed(schema: StructuralSchema, field: string, path: FieldPath): FieldPath[] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, child]) => {
    const at = [...path, key];
    return [...(nearest(field, [key]) === undefined ? [] : [at]), ...fieldsNamed(child, field, at)];
  });
}

function described(schema: StructuralSchema | undefined): string {
  const sentence = schema?.description?.split(/\.\s|\.$/u, 1)[0];
  return sentence === undefined ? '' : `: ${sentence.charAt(0).toLowerCase()}${sentence.slice(1)}`;
}

function example(schema: StructuralSchema | undefined): string {
  return schema?.example === undefined ? '' : `, for example ${JSON.stringify(schema.example)}`;
}

function resolveChild(value: unknown, field: string): unknown {
  return typeof value === 'object' && value !== null ? ownProperty(value as Record<string, unknown>, field) : undefined;
}
