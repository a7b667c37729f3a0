/** Frequencies of sinusoidal embeddings equal torch's but for one unit in the last place where its exp is not correctly rounded. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { sinusoidFrequencies } from '../../runtime/backends/onnx/frequencies.js';
import { fixture } from '../support/fixtures.js';

interface Golden {
  readonly dim: number;
  readonly shift: number;
  readonly frequencies: readonly number[];
}

const goldens = JSON.parse(await readFile(fixture('goldens/frequencies.json'), 'utf8')) as Golden[];

for (const { dim, shift, frequencies } of goldens) {
  test(`${dim} wide, shift ${shift}`, () => {
    const made = sinusoidFrequencies(dim, shift, 10_000);
    assert.equal(made.length, frequencies.length);
    const differences = made.map((value, index) => Math.abs(value / (frequencies[index] ?? Number.NaN) - 1));
    assert.ok(Math.max(...differences) <= 2 ** -23, `${Math.max(...differences)}`);
    // With a rounding left out it is a quarter of them.
    assert.ok(differences.filter((difference) => difference > 0).length <= 0.07 * made.length);
  });
}

test('all goldens are there', () => {
  assert.equal(goldens.length, 5);
});
