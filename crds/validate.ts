/** Validates one SdxlJob as the API server would, with messages for people. */
import { Ajv, type ValidateFunction } from 'ajv';
import { CelRules } from './cel-rules.js';
import { isPlainObject, withDefaults } from './defaults.js';
import { formatPath, showValue, type FieldPath } from './field-path.js';
import { apiVersion, kind, sdxlJobSchema } from './generated/schema.js';
import type { SdxlJob } from './generated/sdxl-job.js';
import { metadataKey, objectMeta } from './object-meta.js';
import { parseYaml, type TextPosition } from './parse-yaml.js';
import { schemaProblems, type Problem } from './schema-problems.js';
import { closed, kubernetesKeywords, ownProperty, type StructuralSchema } from './structural-schema.js';
import { nearest } from './suggest.js';

/** One thing wrong with a job. */
export interface JobProblem extends Partial<TextPosition> {
  /** The field, such as `spec.height`; empty where the whole text is meant. */
  readonly path: string;
  /** The value found; undefined where there is none. */
  readonly value: unknown;
  /** What was found and what is allowed, without the path. */
  readonly message: string;
}

export type JobValidation = { readonly ok: true; readonly job: SdxlJob } | { readonly ok: false; readonly errors: readonly JobProblem[] };

export interface ValidateOptions {
  /** The job that this one replaces: rules about changes are checked too. */
  readonly oldJob?: SdxlJob;
}

const schema: StructuralSchema = { ...sdxlJobSchema, properties: { ...sdxlJobSchema.properties, metadata: objectMeta } };

interface Validator {
  readonly rules: CelRules;
  readonly matchesSchema: ValidateFunction<SdxlJob>;
}

let validator: Validator | undefined;

/** Compiled at the first job: that takes a third of a second, and most processes have none to validate. */
function compiled(): Validator {
  validator ??= {
    rules: new CelRules(schema),
    matchesSchema: new Ajv({
      strict: true,
      allErrors: true,
      // A process validates a few jobs at most: better code would take longer to make than it saves.
      code: { optimize: false },
      keywords: [...kubernetesKeywords],
      formats: {
        int32: { type: 'number', validate: (value: number) => Math.abs(value) <= 0x7fff_ffff },
        int64: { type: 'number', validate: Number.isSafeInteger },
        'date-time': (text: string) => /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d/u.test(text) && !Number.isNaN(Date.parse(text)),
      },
    }).compile<SdxlJob>(closed(schema)),
  };
  return validator;
}

const maxAnnotationsBytes = 256 * 1024;
/** Length of what the API server appends to `generateName`. */
const generatedSuffix = 'xxxxx';

/**
 * Validates a job given as YAML or JSON text, or as an object. The job returned is a frozen copy with all defaults filled in.
 * Every problem is reported at once, except that rules between fields are only checked where each field is valid by itself.
 */
export function validateSdxlJob(source: unknown, options: ValidateOptions = {}): JobValidation {
  if (typeof source !== 'string') return validateObject(source, options, () => undefined);
  const parsed = parseYaml(source);
  if (!parsed.ok) return { ok: false, errors: parsed.problems.map((problem) => ({ path: '', value: undefined, ...problem })) };
  return validateObject(parsed.value, options, parsed.locate);
}

/** `height: 1001 is not a multiple of 8 …`, with the line where it is known. */
export function formatJobProblem({ path, message, line }: JobProblem): string {
  const at = line === undefined ? '' : `line ${String(line)}: `;
  return path === '' ? `${at}${message}` : `${at}${path}: ${message}`;
}

function validateObject(source: unknown, options: ValidateOptions, locate: (path: FieldPath) => TextPosition | undefined): JobValidation {
  const failed = (problems: readonly Problem[]): JobValidation => ({
    ok: false,
    errors: problems.map(({ path, value, message }) => ({ path: formatPath(path), value, message, ...locate(path) })),
  });
  if (!isPlainObject(source)) {
    return failed([{ path: [], value: source, message: `${showValue(source)} must be a map with the fields of an ${kind}` }]);
  }
  const foreign = typeProblems(source);
  if (foreign.length > 0) return failed(foreign);

  const { rules, matchesSchema } = compiled();
  const value = withDefaults(schema, source);
  if (!matchesSchema(value)) return failed([...schemaProblems(schema, value, matchesSchema.errors ?? []), ...metadataProblems(value)]);
  const metadata = metadataProblems(value);
  if (metadata.length > 0) return failed(metadata);
  const violations = rules.violations(named(value), options.oldJob);
  if (violations.length > 0) return failed(violations.map(({ path, message }) => ({ path, value: valueAt(value, path), message })));
  return { ok: true, job: value };
}

function typeProblems(source: Readonly<Record<string, unknown>>): Problem[] {
  const expected = { apiVersion, kind };
  return Object.entries(expected).flatMap(([field, wanted]) => {
    const found = ownProperty(source, field);
    if (found === wanted) return [];
    const similar = typeof found === 'string' && nearest(found, [wanted]) !== undefined ? ` (did you mean ${wanted}?)` : '';
    const message =
      found === undefined ? `is required, it must be ${wanted}` : `${showValue(found)} is not supported, it must be ${wanted}${similar}`;
    return [{ path: [field], value: found, message }];
  });
}

/** What the API server checks of metadata beyond its schema. */
function metadataProblems(job: unknown): Problem[] {
  const metadata = isPlainObject(job) ? ownProperty(job, 'metadata') : undefined;
  if (metadata !== undefined && !isPlainObject(metadata)) return [];
  const problems: Problem[] = [];
  const given = (field: string): unknown => ownProperty(metadata, field) ?? undefined;
  if (given('name') === undefined && given('generateName') === undefined) {
    problems.push({
      path: ['metadata', 'name'],
      value: undefined,
      message: 'is required: the name of the job, for example "flowers-rabbit"',
    });
  }
  let annotationsBytes = 0;
  for (const field of ['labels', 'annotations']) {
    const entries = given(field);
    if (!isPlainObject(entries)) continue;
    for (const [key, value] of Object.entries(entries)) {
      if (field === 'annotations') annotationsBytes += Buffer.byteLength(key) + (typeof value === 'string' ? Buffer.byteLength(value) : 0);
      if (!metadataKey.test(key)) {
        problems.push({
          path: ['metadata', field, key],
          value,
          message: 'is not a valid key, which has the form "name" or "example.com/name"',
        });
      }
    }
  }
  if (annotationsBytes > maxAnnotationsBytes) {
    const message = `the annotations have ${String(annotationsBytes)} bytes, at most ${String(maxAnnotationsBytes)} are allowed`;
    problems.push({ path: ['metadata', 'annotations'], value: undefined, message });
  }
  return problems;
}

/** Rules see the name that the API server would make up. */
function named(job: SdxlJob): SdxlJob {
  const { name, generateName } = job.metadata;
  return name !== undefined || generateName === undefined
    ? job
    : { ...job, metadata: { ...job.metadata, name: generateName + generatedSuffix } };
}

function valueAt(root: unknown, path: FieldPath): unknown {
  return path.reduce<unknown>((value, key) => (isPlainObject(value) ? ownProperty(value, String(key)) : undefined), root);
}
