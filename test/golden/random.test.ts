/** Normal numbers equal torch's within 5e-7, one unit in the last place (test/fixtures/make_goldens.py says why not exactly). */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { packageFile } from '../../runtime/package-root.js';
import { Generator } from '../../runtime/tensor/index.js';

interface Golden {
  readonly seed: string;
  readonly shapes: number[][];
  readonly calls: number[][];
}

const goldens = JSON.parse(await readFile(packageFile('test/fixtures/goldens/random.json'), 'utf8')) as Golden[];

for (const { seed, shapes, calls } of goldens) {
  test(`seed ${seed}, ${shapes.map((shape) => shape.join('×')).join(', ')}`, () => {
    const generator = new Generator(BigInt(seed));
    for (const [call, shape] of shapes.entries()) {
      const expected = calls[call] ?? [];
      const { data, shape: made } = generator.randn(shape);
      assert.deepEqual(made, shape);
      assert.equal(data.length, expected.length);
      const error = expected.reduce((worst, value, index) => Math.max(worst, Math.abs(value - (data[index] ?? NaN))), 0);
      assert.ok(error <= 5e-7, `call ${String(call)}: ${String(error)}`);
    }
  });
}

test('all goldens are there', () => assert.equal(goldens.length, 12));
