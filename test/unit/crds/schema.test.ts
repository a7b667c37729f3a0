import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { parse } from 'yaml';
import { sdxlJobSchema } from '../../../crds/generated/schema.js';
import { objectMeta } from '../../../crds/object-meta.js';
import { inWords } from '../../../crds/pattern-words.js';
import { closed, schemaAt, type StructuralSchema } from '../../../crds/structural-schema.js';

const file = 'crds/sdxl.io_sdxljobs.yaml';

interface Version {
  readonly schema: { readonly openAPIV3Schema: unknown };
  readonly additionalPrinterColumns: readonly { readonly name: string; readonly jsonPath: string; readonly priority?: number }[];
  readonly subresources: unknown;
}

async function version(): Promise<Version> {
  const crd = parse(await readFile(file, 'utf8')) as { spec: { versions: readonly [Version] } };
  return crd.spec.versions[0];
}

function* fieldsOf(schema: StructuralSchema, path = ''): Generator<[string, StructuralSchema]> {
  for (const [key, property] of Object.entries(schema.properties ?? {})) {
    yield [`${path}.${key}`, property];
    yield* fieldsOf(property, `${path}.${key}`);
    if (property.items !== undefined) yield* fieldsOf(property.items, `${path}.${key}[]`);
  }
}

test('the generated schema is the one of the CRD', async () => {
  assert.deepEqual(sdxlJobSchema, (await version()).schema.openAPIV3Schema);
});

test('the CRD is small enough for client-side apply, whose annotation holds 262,144 bytes', async () => {
  assert.ok((await readFile(file)).byteLength < 100_000);
});

test('every field is described in sentences', () => {
  for (const [path, { description }] of fieldsOf(sdxlJobSchema)) {
    if (path === '.metadata') continue;
    assert.match(description ?? '', /^(?:[A-Z0-9`]).*\.$/su, path);
  }
});

test('every pattern is told in words', () => {
  const labels = objectMeta.properties?.['labels']?.additionalProperties;
  assert.ok(labels);
  for (const [path, { pattern }] of [...fieldsOf(sdxlJobSchema), ...fieldsOf(objectMeta, 'metadata'), ['label', labels] as const]) {
    if (pattern !== undefined) assert.doesNotMatch(inWords(pattern), /match/u, path);
  }
});

test('every size is bounded, so that the cost of rules is', () => {
  for (const [path, schema] of fieldsOf(sdxlJobSchema)) {
    if (path === '.apiVersion' || path === '.kind') continue;
    if (schema.type === 'string') assert.ok(schema.maxLength !== undefined, `${path} has no maxLength`);
    if (schema.type === 'array') assert.ok(schema.maxItems !== undefined, `${path} has no maxItems`);
    if (schema.additionalProperties !== undefined) assert.ok(schema.maxProperties !== undefined, `${path} has no maxProperties`);
  }
});

test('every field of spec has a default, is required, or says what its absence means', () => {
  const spec = schemaAt(sdxlJobSchema, ['spec']);
  assert.ok(spec);
  const optional = [...fieldsOf(spec)].filter(([path, field]) => {
    const within = path
      .split('.')
      .slice(1, -1)
      .flatMap((key) => (key.endsWith('[]') ? [key.slice(0, -2), 0] : [key]));
    const parent = schemaAt(spec, within);
    return field.default === undefined && !(parent?.required ?? []).includes(path.split('.').at(-1) ?? '');
  });
  assert.ok(optional.length > 0);
  for (const [path, { description }] of optional) {
    if (path.endsWith('[]')) continue;
    assert.match(description ?? '', /Left out|Exactly one/u, path);
  }
});

test('every field of spec is immutable, but for those that may change', () => {
  const mutable = ['suspend', 'ttlSecondsAfterFinished', 'scheduling'];
  const spec = schemaAt(sdxlJobSchema, ['spec']);
  const [immutable] = spec?.['x-kubernetes-validations'] ?? [];
  assert.ok(spec !== undefined && immutable !== undefined);
  for (const [field, schema] of Object.entries(spec.properties ?? {})) {
    const present: boolean = schema.default !== undefined || (spec.required ?? []).includes(field);
    const compared: string = present ? `self.${field} == oldSelf.${field}` : `(!has(self.${field}) || self.${field} == oldSelf.${field})`;
    assert.equal(immutable.rule.includes(compared), !mutable.includes(field), field);
  }
});

test('names are those of Kubernetes: camelCase fields, CamelCase enum values, no floats', () => {
  for (const [path, schema] of fieldsOf(sdxlJobSchema)) {
    assert.match(path.split('.').at(-1) ?? '', /^[a-z][A-Za-z0-9]*(?:\[\])?$/u, path);
    for (const value of schema.enum ?? []) assert.match(value, /^[A-Z][A-Za-z0-9]*$/u, path);
    assert.ok(['object', 'array', 'string', 'integer', 'boolean'].includes(schema.type), `${path} is a ${schema.type}`);
  }
});

test('rules have a message that says it all, and names a field that exists', () => {
  const specRules = schemaAt(sdxlJobSchema, ['spec'])?.['x-kubernetes-validations'] ?? [];
  assert.ok(specRules.length >= 5);
  for (const { message, fieldPath } of specRules) {
    assert.ok(message.length > 20, message);
    if (fieldPath !== undefined) assert.ok(schemaAt(sdxlJobSchema, ['spec', ...fieldPath.split('.').slice(1)]), fieldPath);
  }
});

test('conditions are read by type, never by position, and status is a subresource', async () => {
  const { additionalPrinterColumns, subresources } = await version();
  assert.deepEqual(subresources, { status: {} });
  for (const { name, jsonPath } of additionalPrinterColumns) {
    const field = name === 'Gang' ? '"GangReady")].reason' : `"${name}")].status`;
    if (jsonPath.includes('conditions')) assert.equal(jsonPath, `.status.conditions[?(@.type==${field}`);
  }
  // What a job waits for is seen without asking for more.
  const shown = additionalPrinterColumns.filter(({ priority = 0 }) => priority === 0).map(({ name }) => name);
  assert.deepEqual(shown, ['Phase', 'Gang', 'Progress', 'P95', 'Restarts', 'Age']);
  assert.deepEqual(schemaAt(sdxlJobSchema, ['status'])?.default, { observedGeneration: -1, phase: 'Pending' });
});

test('the closed schema knows no field that the open one does not', () => {
  assert.equal(closed(sdxlJobSchema)['additionalProperties'], false);
  assert.equal(schemaAt(sdxlJobSchema, ['spec', 'constructor']), undefined);
});
