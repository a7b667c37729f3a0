import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { formatJobProblem, validateSdxlJob } from '../../../crds/index.js';
import { sdxlJobSchema } from '../../../crds/generated/schema.js';
import { schemaAt, type StructuralSchema } from '../../../crds/structural-schema.js';
import { jobWith } from './invalid-jobs.js';

/** Values that a schema admits, made from the schema alone. */
function admittedBy(schema: StructuralSchema): fc.Arbitrary<unknown> {
  switch (schema.type) {
    case 'boolean':
      return fc.boolean();
    case 'integer': {
      const { minimum = 0, maximum = 1000, multipleOf = 1 } = schema;
      return fc.maxSafeInteger().map((n) => minimum + (Math.abs(n) % (Math.floor((maximum - minimum) / multipleOf) + 1)) * multipleOf);
    }
    case 'string':
      return text(schema);
    case 'array':
      return schema.items === undefined ? fc.constant([]) : fc.array(admittedBy(schema.items), { maxLength: 3 });
    case 'object': {
      if (schema.additionalProperties !== undefined) {
        return fc.dictionary(fc.stringMatching(/^[a-z]{1,20}$/u), admittedBy(schema.additionalProperties), { maxKeys: 3 });
      }
      const properties = Object.entries(schema.properties ?? {}).map(([key, child]) => [key, admittedBy(child)] as const);
      return fc.record(Object.fromEntries(properties), { requiredKeys: [...(schema.required ?? [])] });
    }
  }
}

function text({ enum: values, pattern, minLength = 0, maxLength = 1000 }: StructuralSchema): fc.Arbitrary<string> {
  if (values !== undefined) return fc.constantFrom(...values);
  const bounded = pattern === undefined ? fc.string({ unit: 'grapheme', maxLength: 60 }) : fc.stringMatching(new RegExp(pattern, 'u'));
  return bounded.filter(
    (value) => !/\p{Cs}/u.test(value) && Array.from(value).length >= minLength && Array.from(value).length <= maxLength,
  );
}

const specSchema = schemaAt(sdxlJobSchema, ['spec']);
assert.ok(specSchema);
const admittedJob = admittedBy(specSchema).map((spec) => ({ ...jobWith({}), spec }));

/** Paths that rules report at, items as `[]`. */
function* rulePaths(schema: StructuralSchema, path: string): Generator<string> {
  for (const { fieldPath = '' } of schema['x-kubernetes-validations'] ?? []) yield `${path}${fieldPath}`;
  for (const [key, child] of Object.entries(schema.properties ?? {})) yield* rulePaths(child, `${path}.${key}`);
  if (schema.items !== undefined) yield* rulePaths(schema.items, `${path}[]`);
}

test('a job the schema admits is accepted, or refused by rules alone', () => {
  const rules = [...rulePaths(specSchema, 'spec')];
  fc.assert(
    fc.property(admittedJob, (job) => {
      const result = validateSdxlJob(job);
      if (result.ok) return;
      for (const problem of result.errors) assert.ok(rules.includes(problem.path.replaceAll(/\[\d+\]/gu, '[]')), formatJobProblem(problem));
    }),
    { numRuns: 300 },
  );
});

/** Parts whose random values rarely agree with each other. */
const agreeing = {
  prompt: 'flowers, rabbit',
  prompts: null,
  height: 1024,
  parallelism: { patchDegree: 2 },
  model: { claim: { name: 'models', path: 'sdxl-base' } },
  accelerator: { resourceName: 'nvidia.com/gpu' },
  backend: 'Auto',
  output: { path: 'a.png', size: '2Gi' },
  pods: {
    env: [{ name: 'A', value: 'b' }],
    tolerations: [{ operator: 'Exists' }],
    labels: { team: 'a' },
    resources: { limits: { cpu: '4' } },
  },
};

test('what is accepted survives a second validation, YAML and JSON', () => {
  let accepted = 0;
  fc.assert(
    fc.property(admittedJob, (job) => {
      const first = validateSdxlJob({ ...job, spec: { ...(job.spec as object), ...agreeing } });
      if (!first.ok) return;
      accepted++;
      for (const again of [first.job, stringify(first.job, { version: '1.1' }), JSON.stringify(first.job)]) {
        const second = validateSdxlJob(again, { oldJob: first.job });
        assert.ok(second.ok, second.ok ? '' : second.errors.map(formatJobProblem).join('\n'));
        assert.deepEqual(second.job, first.job);
      }
    }),
    { numRuns: 300 },
  );
  assert.ok(accepted > 50, `only ${accepted} jobs were accepted`);
});

test('any value in any place gives an answer with paths and messages', () => {
  const base = validateSdxlJob(jobWith({ negativePrompt: 'blurry' }));
  assert.ok(base.ok);
  const places = [...placesOf(base.job)];
  const anything = fc.oneof(fc.jsonValue(), fc.anything({ withBigInt: true, withDate: true, withMap: true, withNullPrototype: true }));
  fc.assert(
    fc.property(fc.constantFrom(...places), anything, fc.string(), (place, value, key) => {
      for (const mutated of [replaced(base.job, place, value), replaced(base.job, [...place, key], value)]) {
        const result = validateSdxlJob(mutated);
        if (result.ok) continue;
        assert.ok(result.errors.length > 0);
        for (const { path, message } of result.errors)
          assert.ok(typeof path === 'string' && message !== '' && message.length < 2000, message);
      }
    }),
    { numRuns: 1000 },
  );
});

test('any damage to the text gives an answer', () => {
  const original = stringify(jobWith({ parallelism: { patchDegree: 2 } }));
  const splice = fc.record({ at: fc.nat(original.length), remove: fc.nat(20), insert: fc.string({ unit: 'binary', maxLength: 10 }) });
  const syntax = fc.constantFrom('&a', '*a', '<<: ', '!!', '---\n', '{', '[', '? ', '|\n', '"', ': ', '\t', '%YAML 9\n');
  fc.assert(
    fc.property(fc.array(fc.tuple(splice, syntax), { minLength: 1, maxLength: 5 }), (edits) => {
      const text = edits.reduce(
        (at, [{ at: from, remove, insert }, token]) => at.slice(0, from) + insert + token + at.slice(from + remove),
        original,
      );
      validateSdxlJob(text);
    }),
    { numRuns: 1000 },
  );
});

test('the heights a message offers are the nearest that are valid', () => {
  const height = fc.integer({ min: 8, max: 512 }).map((n) => n * 8);
  fc.assert(
    fc.property(height, fc.integer({ min: 1, max: 32 }), (wanted, patchDegree) => {
      const tried = (candidate: number) => validateSdxlJob(jobWith({ height: candidate, parallelism: { patchDegree } }));
      const unit = patchDegree === 1 ? 8 : 32 * patchDegree;
      const result = tried(wanted);
      assert.equal(result.ok, wanted % unit === 0);
      if (result.ok) return;
      const offered = /the nearest (?:is|are) (\d+)(?: and (\d+))?$/u.exec(result.errors[0]?.message ?? '');
      const below = Math.floor(wanted / unit) * unit;
      const expected = [below, below + unit].filter((candidate) => candidate > 0 && candidate <= 4096);
      if (below > 0) assert.deepEqual(offered?.slice(1).filter(Boolean).map(Number), expected);
      for (const candidate of expected) assert.ok(tried(candidate).ok);
    }),
    { numRuns: 300 },
  );
});

function* placesOf(value: unknown, path: readonly string[] = []): Generator<readonly string[]> {
  yield path;
  if (typeof value !== 'object' || value === null) return;
  for (const [key, child] of Object.entries(value)) yield* placesOf(child, [...path, key]);
}

function replaced(root: unknown, [key, ...rest]: readonly string[], value: unknown): unknown {
  if (key === undefined) return value;
  const parent = typeof root === 'object' && root !== null ? (root as Record<string, unknown>) : {};
  return { ...parent, [key]: replaced(parent[key], rest, value) };
}

/** Values that a schema refuses, each with one fault. */
function refusedBy(schema: StructuralSchema): fc.Arbitrary<unknown> {
  const otherTypes = [
    fc.boolean(),
    fc.constant([1]),
    fc.constant({ nothing: 1 }),
    fc.double({ noInteger: true, noNaN: true }),
    fc.integer(),
    fc.string(),
  ];
  const ofType: Readonly<Record<StructuralSchema['type'], number>> = { boolean: 0, array: 1, object: 2, integer: 4, string: 5 };
  const wrongTypes = otherTypes.filter((_, index) => index !== ofType[schema.type]);
  const faults: fc.Arbitrary<unknown>[] = [fc.oneof(...wrongTypes)];
  if (schema.type === 'integer') {
    const { minimum = 0, maximum, multipleOf } = schema;
    if (schema.minimum !== undefined) faults.push(fc.integer({ min: 1, max: 1000 }).map((n) => minimum - n));
    // Beyond the largest safe integer, every other one is none in JSON.
    if (maximum !== undefined && maximum < 2 ** 52) faults.push(fc.integer({ min: 1, max: 1000 }).map((n) => maximum + n));
    if (multipleOf !== undefined) faults.push(fc.integer({ min: 1, max: multipleOf - 1 }).map((n) => minimum + n));
  }
  if (schema.type === 'string') {
    const { enum: values, pattern, maxLength = 1_000_000 } = schema;
    if (maxLength < 5000) faults.push(fc.integer({ min: 1, max: 50 }).map((n) => 'a'.repeat(maxLength + n)));
    if (values !== undefined) faults.push(fc.string().filter((value) => !values.includes(value)));
    if (pattern !== undefined) {
      const matches = new RegExp(pattern, 'u');
      const odd = ['\n', '\u0000', 'a\tb', ' ', '-', '/', '%', 'é', 'a b', 'A/', '../x', '1.2.3'].filter((value) => !matches.test(value));
      faults.push(fc.constantFrom(...odd));
    }
  }
  return fc.oneof(...faults);
}

/** Every field of a spec with its schema, below lists left out. */
function* fieldsOf(schema: StructuralSchema, path: readonly string[]): Generator<{ path: readonly string[]; schema: StructuralSchema }> {
  for (const [key, child] of Object.entries(schema.properties ?? {})) {
    yield { path: [...path, key], schema: child };
    yield* fieldsOf(child, [...path, key]);
  }
}

test('a thousand jobs with one fault each are refused, by the field and in words', () => {
  assert.ok(specSchema);
  const fields = [...fieldsOf(specSchema, ['spec'])];
  assert.ok(fields.length > 80, String(fields.length));
  const faulty = fc.constantFrom(...fields).chain((field) => refusedBy(field.schema).map((value) => ({ ...field, value })));
  let runs = 0;
  fc.assert(
    fc.property(faulty, ({ path, value }) => {
      runs++;
      const result = validateSdxlJob(replaced(jobWith({}), path, value));
      assert.ok(!result.ok, `${path.join('.')}: ${JSON.stringify(value)} was accepted`);
      const at = path.join('.');
      const problem = result.errors.find(
        (error) => error.path === at || error.path.startsWith(`${at}.`) || error.path.startsWith(`${at}[`),
      );
      assert.ok(problem, `${at}: ${JSON.stringify(value)} is told of as ${result.errors.map(formatJobProblem).join('; ')}`);
      assert.ok(problem.message.length > 5 && problem.message.length < 2000, problem.message);
    }),
    { numRuns: 1000 },
  );
  assert.ok(runs >= 1000);
});
