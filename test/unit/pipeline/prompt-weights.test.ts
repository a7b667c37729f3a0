/** The syntax of weighted prompts, against what diffusers' community pipeline reads (test/fixtures/make_weighted_goldens.py). */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { SdxlError } from '../../../runtime/errors/index.js';
import { parseWeightedPrompt } from '../../../runtime/pipeline/prompt-weights.js';
import { fixture } from '../../support/fixtures.js';

interface Parsed {
  readonly prompt: string;
  readonly parts: readonly (readonly [string, number])[];
}

const parsed = JSON.parse(readFileSync(fixture('weighted-prompts/parsed.json'), 'utf8')) as readonly Parsed[];
const texts = (prompt: string): (readonly [string, number])[][] =>
  parseWeightedPrompt(prompt, 'spec.prompt').map((section) => section.map(({ text, weight }) => [text, weight] as const));

for (const { prompt, parts } of parsed) {
  test(`as the reference reads it: ${JSON.stringify(prompt)}`, () => {
    const [found = [], ...more] = texts(prompt);
    assert.deepEqual(more, []);
    // A prompt of nothing is one empty text there.
    assert.deepEqual(found.length === 0 ? [['', 1]] : found, parts);
  });
}

test('BREAK stands between sections, as a word of its own and in capitals', () => {
  assert.deepEqual(texts('a BREAK b'), [[['a', 1]], [['b', 1]]]);
  assert.deepEqual(texts('(a:2) BREAK\n (b BREAK c:3)'), [
    [
      ['a', 2],
      ['', 1],
    ],
    [
      ['', 1],
      ['b', 3],
    ],
    [['c', 3]],
  ]);
  assert.deepEqual(texts('BREAKFAST, a_BREAK, break, éBREAK'), [[['BREAKFAST, a_BREAK, break, éBREAK', 1]]]);
});

for (const [prompt, message] of [
  ['a (b:1.2.3)', /^spec\.negativePrompt: the weight "1\.2\.3" is no number: .* write \(text:1\.3\), or \\\( and \\\)/u],
  ['(a:.)', /the weight "\." is no number/u],
  ['((a:1000):1000)', /the weight 1000000 is larger than 65504/u],
] as const) {
  test(`refused: ${prompt}`, () => {
    assert.throws(
      () => parseWeightedPrompt(prompt, 'spec.negativePrompt'),
      (error) => error instanceof SdxlError && error.code === 'JOB_INVALID' && message.test(error.message),
    );
  });
}
