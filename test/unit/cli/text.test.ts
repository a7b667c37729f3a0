import assert from 'node:assert/strict';
import { test } from 'node:test';
import { summarizeLatencies } from '../../../runtime/cli/bench-statistics.js';
import { splitDocuments } from '../../../runtime/cli/job-file.js';
import { bytes, integer, integers, once, ratio } from '../../../runtime/cli/numbers.js';
import { table } from '../../../runtime/cli/table.js';

test('sizes are powers of 1024', () => {
  assert.deepEqual(['24Gi', '1.5GiB', '512Mi', '2k', '7', '7B'].map(bytes), [24 * 2 ** 30, 1.5 * 2 ** 30, 512 * 2 ** 20, 2048, 7, 7]);
  for (const text of ['', 'Gi', '-1Gi', '1X', '1 e3']) assert.throws(() => bytes(text), /a size such as 24Gi/u, text);
});

test('integers, lists of ranks and ratios are read strictly', () => {
  assert.deepEqual([integer('-3'), integers('1, 2,4'), ratio('.2'), ratio('0')], [-3, [1, 2, 4], 0.2, 0]);
  for (const text of ['1.5', '1e3', '', 'x']) assert.throws(() => integer(text), text);
  for (const text of ['1,1', '0', '1,', '65']) assert.throws(() => integers(text), text);
  for (const text of ['1', '-0.1', 'x']) assert.throws(() => ratio(text), text);
});

test('what there is one of is not given twice', () => {
  assert.equal(once('a.yaml', undefined), 'a.yaml');
  assert.throws(() => once('b.yaml', 'a.yaml'), /'a\.yaml' was given before/u);
});

test('documents keep their line numbers; empty ones are no documents', () => {
  assert.deepEqual(splitDocuments('a: 1\n'), ['a: 1\n']);
  assert.deepEqual(splitDocuments('# head\n---\na: 1\n---\n# nothing\n---\nb: 2\n'), ['\n---\na: 1', '\n\n\n\n\n---\nb: 2\n']);
  assert.deepEqual(splitDocuments('a: |\n  ---\n'), ['a: |\n  ---\n'], 'indented, it is text');
  assert.deepEqual(splitDocuments(''), ['']);
});

test('the trimmed mean drops as many at either end', () => {
  const summary = summarizeLatencies([9, 1, 2, 3, 4, 5, 6, 7, 8, 100], 0.2);
  assert.deepEqual(
    [summary.counted, summary.trimmedMeanSeconds, summary.medianSeconds, summary.minSeconds, summary.maxSeconds],
    [8, 5.5, 5.5, 1, 100],
  );
  assert.equal(summarizeLatencies([1, 2], 0.2).counted, 2, 'nothing to drop of two');
});

test('columns of numbers stand to the right', () => {
  assert.equal(
    table(
      ['n', 'what'],
      [
        ['1', 'a'],
        ['10', 'bb'],
      ],
    ),
    '|  n | what |\n|---:|------|\n|  1 | a    |\n| 10 | bb   |',
  );
});
