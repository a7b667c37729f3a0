/** What a rank loads before its first word. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { packageFile } from '../../../runtime/package-root.js';

test('a rank, whose job the launcher has validated, does not load and compile the validator', () => {
  const script = `import { createRequire } from 'node:module';
    await import(${JSON.stringify(packageFile('dist/runtime/launch/rank.js'))});
    const { cache } = createRequire(${JSON.stringify(packageFile('package.json'))});
    console.log(JSON.stringify(Object.keys(cache).map((file) => /node_modules\\/((?:@[^/]+\\/)?[^/]+)/.exec(file)?.[1])));`;
  const output = execFileSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8', timeout: 60_000 });
  const loaded = new Set(JSON.parse(output) as string[]);
  assert.ok(loaded.has('@grpc/grpc-js'));
  assert.ok(!loaded.has('ajv'));
});
