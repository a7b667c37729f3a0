/** docs/api.md: every field of the CRD with its type, default, limits and meaning, and the rules between fields. */
import { objectMeta } from '../../crds/object-meta.js';
import type { StructuralSchema, ValidationRule } from '../../crds/structural-schema.js';
import { generatedNotice, type Crd } from './crd.js';

export function renderApiReference({ group, version, kind, plural, shortName, schema }: Crd): string {
  const { spec, status } = schema.properties ?? {};
  if (spec === undefined || status === undefined) throw new Error('the CRD has no spec or no status');
  return `<!-- ${generatedNotice} -->

# ${kind} (${group}/${version})

${schema.description ?? ''}

Resource \`${plural}.${group}\`, short name \`${shortName}\`, namespaced. \`sdxl validate -f job.yaml\` checks a file against everything below,
as an API server does. Unknown fields are errors. Fields marked * are required. A whole job: [sdxljob.yaml](../manifests/samples/sdxljob.yaml).

## metadata

As of every Kubernetes object. These fields are of use in a job's file:

${table(writtenByUsers(objectMeta), 'metadata')}
## spec

${spec.description ?? ''}

${table(spec, 'spec')}
### Rules

${[...rules(schema, ''), ...rulesWithin(spec, 'spec')].join('\n')}

## status

${status.description ?? ''}

${table(status, 'status')}`;
}

function table(schema: StructuralSchema, path: string): string {
  const rows = fields(schema, path).map((cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`);
  return ['| Field | Type | Default | Allowed | Meaning |', '| --- | --- | --- | --- | --- |', ...rows, ''].join('\n');
}

function fields(schema: StructuralSchema, path: string): string[][] {
  return Object.entries(schema.properties ?? {}).flatMap(([key, property]) => {
    const at = `${path}.${key}`;
    const required = (schema.required ?? []).includes(key) ? ' *' : '';
    const row = [`\`${at}\`${required}`, typeOf(property), defaultOf(property), allowed(property), meaning(property)];
    const nested = property.items ?? property;
    return [row, ...fields(nested, property.items === undefined ? at : `${at}[]`)];
  });
}

function typeOf(schema: StructuralSchema): string {
  if (schema.type === 'array') return schema.items === undefined ? 'list' : `list of ${typeOf(schema.items)}s`;
  if (schema.additionalProperties !== undefined) return `map to ${typeOf(schema.additionalProperties)}s`;
  return schema.type === 'string' && schema.enum !== undefined ? 'enum' : schema.type;
}

function defaultOf({ default: value }: StructuralSchema): string {
  return value === undefined || (typeof value === 'object' && JSON.stringify(value) === '{}') ? '' : `\`${JSON.stringify(value)}\``;
}

function allowed(schema: StructuralSchema): string {
  const { minimum, maximum, multipleOf, minLength, maxLength, maxItems, pattern, format } = schema;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(', ');
  const limits: string[] = [];
  if (minimum !== undefined) limits.push(maximum === undefined ? `≥ ${String(minimum)}` : `${String(minimum)} … ${String(maximum)}`);
  if (multipleOf !== undefined) limits.push(`multiple of ${String(multipleOf)}`);
  if (minLength !== undefined) limits.push(`${String(minLength)} … ${String(maxLength)} characters`);
  else if (maxLength !== undefined) limits.push(`≤ ${String(maxLength)} characters`);
  if (maxItems !== undefined) limits.push(`≤ ${String(maxItems)} items`);
  if (pattern !== undefined) limits.push(`matches \`${pattern}\``);
  if (format === 'date-time') limits.push('RFC 3339 time');
  return limits.join(', ');
}

function meaning({ description = '', example }: StructuralSchema): string {
  return example === undefined ? description : `${description} Example: \`${JSON.stringify(example)}\`.`;
}

function rulesWithin(schema: StructuralSchema, path: string): string[] {
  const below = Object.entries(schema.properties ?? {}).flatMap(([key, property]) => rulesWithin(property, `${path}.${key}`));
  return [...rules(schema, path), ...below];
}

function rules(schema: StructuralSchema, path: string): string[] {
  return (schema['x-kubernetes-validations'] ?? []).map((rule: ValidationRule) => {
    const at = `${path}${rule.fieldPath ?? ''}`;
    return `- ${at === '' ? '' : `\`${at}\`: `}${rule.message}.`;
  });
}

function writtenByUsers(schema: StructuralSchema): StructuralSchema {
  const written = ['name', 'generateName', 'namespace', 'labels', 'annotations'];
  return { ...schema, properties: Object.fromEntries(Object.entries(schema.properties ?? {}).filter(([key]) => written.includes(key))) };
}
