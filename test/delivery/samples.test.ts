/** The samples, as the command line sees them: all valid, and together they show what only a cluster honours. */
import assert from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite, test } from 'node:test';
import { parseAllDocuments } from 'yaml';
import { readCrd } from '../../scripts/generate/crd.js';
import type { StructuralSchema } from '../../crds/structural-schema.js';
import { at } from '../support/manifests.js';
import { sdxl } from '../support/sdxl.js';

const folder = 'manifests/samples';
const files = (await readdir(folder)).filter((name) => name.endsWith('.yaml'));

/** As docs/cli.md lists them: `sdxl run` refuses these. */
const ofClusters = [
  ...[
    'model.claim',
    'model.image',
    'model.huggingFace',
    'model.s3',
    'output.claim',
    'output.size',
    'output.storageClassName',
    'output.s3',
    'parallelism.ranksPerPod',
  ],
  ...[
    'suspend',
    'ttlSecondsAfterFinished',
    'activeDeadlineSeconds',
    'failurePolicy',
    'cleanPodPolicy',
    'managedBy',
    'cache',
    'accelerator',
  ],
  ...['network', 'scheduling', 'pods'],
];

suite('sdxl validate', () => {
  for (const file of files) {
    test(`accepts ${file}`, async () => {
      const { code, stdout, stderr } = await sdxl(['validate', '-f', join(folder, file)], { cwd: process.cwd() });
      assert.equal(code, 0, stderr);
      assert.match(stdout, / is valid\n$/u);
    });
  }
});

test('the README tells of every sample and of no other', async () => {
  const readme = await readFile(join(folder, 'README.md'), 'utf8');
  const named = [...readme.matchAll(/^\| \[([^\]]+)\]\(\1\)/gmu)].map(([, name]) => name);
  assert.deepEqual(named.sort(), files.sort());
});

test('every field that only a cluster honours is shown by a sample', async () => {
  const { schema } = await readCrd('crds/sdxl.io_sdxljobs.yaml');
  const jobs = await Promise.all(files.map(async (file) => documents(await readFile(join(folder, file), 'utf8'))));
  const shown = new Set(jobs.flat().flatMap((job) => [...pathsOf(at(job, 'spec'), '')]));
  const spec = schema.properties?.['spec'];
  assert.ok(spec !== undefined);
  const fields = [...fieldsOf(spec, '')].filter((path) => ofClusters.some((field) => `${path}.`.startsWith(`.${field}.`)));
  assert.ok(fields.length > 60);
  assert.deepEqual(
    fields.filter((path) => !shown.has(path)),
    [],
  );
});

function documents(text: string): readonly unknown[] {
  return parseAllDocuments(text).map((document) => document.toJS() as unknown);
}

/** Paths of a value's fields; items of lists and values of free-form maps count as their list or map. */
function* pathsOf(value: unknown, path: string): Iterable<string> {
  if (Array.isArray(value)) for (const item of value) yield* pathsOf(item, path);
  else if (typeof value === 'object' && value !== null) {
    for (const [key, inner] of Object.entries(value)) {
      yield `${path}.${key}`;
      yield* pathsOf(inner, `${path}.${key}`);
    }
  }
}

function* fieldsOf(schema: StructuralSchema, path: string): Iterable<string> {
  for (const [key, inner] of Object.entries(schema.properties ?? {})) {
    yield `${path}.${key}`;
    yield* fieldsOf(inner, `${path}.${key}`);
  }
  if (schema.items !== undefined) yield* fieldsOf(schema.items, path);
}
