/** TypeScript types of a valid job with its defaults filled in: a field is optional only where it has no default and is not required. */
import type { StructuralSchema } from '../../crds/structural-schema.js';
import { objectMeta } from '../../crds/object-meta.js';
import { generatedNotice, type Crd } from './crd.js';

export function renderTypes({ kind, group, version, schema }: Crd): string {
  const interfaces: string[] = [];
  const root: StructuralSchema = {
    ...schema,
    required: ['apiVersion', 'kind', 'metadata', ...(schema.required ?? [])],
    properties: {
      ...schema.properties,
      apiVersion: { type: 'string', enum: [`${group}/${version}`] },
      kind: { type: 'string', enum: [kind] },
      metadata: objectMeta,
    },
  };
  declare(kind, root, interfaces);
  return `// ${generatedNotice}\n\n${interfaces.join('\n')}`;
}

/** Adds the interface `name` after those it refers to are named, and before them in the file. */
function declare(name: string, schema: StructuralSchema, interfaces: string[]): void {
  const index = interfaces.push('') - 1;
  const properties = Object.entries(schema.properties ?? {}).map(([key, property]) => {
    const present = (schema.required ?? []).includes(key) || property.default !== undefined;
    const type = typeOf(`${name}${capitalised(key)}`, property, interfaces);
    return `${comment(property)}readonly ${key}${present ? '' : '?'}: ${type}${property.nullable === true ? ' | null' : ''};`;
  });
  interfaces[index] = `${comment(schema)}export interface ${name} {\n${properties.join('\n')}\n}\n`;
}

function typeOf(name: string, schema: StructuralSchema, interfaces: string[]): string {
  switch (schema.type) {
    case 'boolean':
      return 'boolean';
    case 'integer':
      return 'number';
    case 'string':
      return schema.enum === undefined ? 'string' : schema.enum.map((value) => JSON.stringify(value)).join(' | ');
    case 'array':
      return `readonly ${schema.items === undefined ? 'unknown' : typeOf(singular(name), schema.items, interfaces)}[]`;
    case 'object':
      if (schema.additionalProperties !== undefined) {
        return `Readonly<Record<string, ${typeOf(singular(name), schema.additionalProperties, interfaces)}>>`;
      }
      if (schema.properties === undefined) return 'object';
      declare(name, schema, interfaces);
      return name;
  }
}

function comment({ description, default: value }: StructuralSchema): string {
  if (description === undefined) return '';
  const text = value === undefined || typeof value === 'object' ? description : `${description} Default: ${JSON.stringify(value)}.`;
  return `/** ${text.replaceAll('*/', '* /')} */\n`;
}

function capitalised(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function singular(name: string): string {
  return name.endsWith('s') ? name.slice(0, -1) : name;
}
