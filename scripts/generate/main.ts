/**
 * Writes the files derived from the SdxlJob CRD: `npm run generate`. With `--check` it writes nothing and fails where a checked-in
 * file differs from what would be written.
 */
import { readFile, writeFile } from 'node:fs/promises';
import { format, resolveConfig } from 'prettier';
import { renderApiReference } from './api-reference.js';
import { readCrd } from './crd.js';
import { renderSchemaModule } from './schema-module.js';
import { renderTypes } from './types-module.js';

const crd = await readCrd('crds/sdxl.io_sdxljobs.yaml');
const outputs = {
  'crds/generated/schema.ts': renderSchemaModule(crd),
  'crds/generated/sdxl-job.ts': renderTypes(crd),
  'docs/api.md': renderApiReference(crd),
};

const check = process.argv.includes('--check');
const stale: string[] = [];
for (const [path, content] of Object.entries(outputs)) {
  const wanted = await format(content, { ...(await resolveConfig(path)), filepath: path });
  if (check) {
    const found = await readFile(path, 'utf8').catch(() => undefined);
    if (found !== wanted) stale.push(path);
  } else {
    await writeFile(path, wanted);
  }
}
if (stale.length > 0) {
  console.error(`not what the CRD gives, run "npm run generate": ${stale.join(', ')}`);
  process.exitCode = 1;
}
