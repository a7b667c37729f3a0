/** The judge of the quality bench, and what it makes of its verdicts. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { describe, it } from 'node:test';
import { decode } from 'fast-png';
import { Judge } from '../../../bench/quality/judge.js';
import { lossOf } from '../../../bench/quality/loss.js';
import { wantedAt } from '../../../bench/quality/prompts.js';
import { packageFile } from '../../../runtime/package-root.js';
import { float32 } from '../../../runtime/tensor/index.js';

describe('the judge', () => {
  it("sees flowers and a rabbit in the demo's picture, and nothing else before them", async () => {
    const { width, height, channels, data } = decode(await readFile(packageFile('docs/images/demo.png')));
    const picture = float32([3, height, width]);
    picture.data.forEach((_, index) => {
      const [place, channel] = [index % (width * height), Math.floor(index / (width * height))];
      picture.data[index] = (data[place * channels + channel] ?? 0) / 255;
    });
    const judge = await Judge.open();
    const [flowers, rabbit, fox] = ['flowers', 'rabbit', 'fox'].map((name) => judge.classes.indexOf(name)) as [number, number, number];
    assert.equal(await judge.recognises(picture, [flowers, rabbit]), true);
    assert.equal(await judge.recognises(picture, [flowers, fox]), false);
    assert.equal(await judge.recognises(float32(picture.shape), [flowers, rabbit]), false);
    await judge.close();
  });
});

describe('pictures to judge', () => {
  it('show each class as often, alone and first of two', () => {
    const classes = ['cat', 'dog', 'owl'];
    const wanted = Array.from({ length: 12 }, (_, index) => wantedAt(index, classes));
    assert.deepEqual(
      wanted.map((picture) => picture.classes[0]),
      [0, 0, 1, 1, 2, 2, 0, 0, 1, 1, 2, 2],
    );
    for (const [index, picture] of wanted.entries()) {
      assert.equal(new Set(picture.classes).size, 1 + (index % 2));
      for (const subject of picture.classes) assert.ok(picture.prompt.includes(classes[subject] ?? assert.fail()));
    }
    assert.equal(new Set(wanted.map(({ seed }) => seed)).size, wanted.length);
  });
});

describe('what is lost', () => {
  const pairs = (both: number, lost: number, won: number): Parameters<typeof lossOf>[0] => [
    ...Array.from({ length: both }, () => ({ alone: true, recognised: true })),
    ...Array.from({ length: lost }, () => ({ alone: true, recognised: false })),
    ...Array.from({ length: won }, () => ({ alone: false, recognised: true })),
  ];

  it('is counted in pairs', () => {
    assert.equal(lossOf(pairs(90, 7, 3)).points, 4);
    assert.equal(lossOf(pairs(90, 3, 7)).points, -4);
  });

  it('has an interval around it, which more pictures narrow', () => {
    const few = lossOf(pairs(96, 3, 1));
    const many = lossOf(pairs(960, 30, 10));
    assert.ok(few.low < 0 && few.points < few.high);
    assert.ok(many.low > 0 && many.high - many.low < few.high - few.low);
    // Agresti and Min's (2005) formula by hand: b = 3.5, c = 1.5, n = 102.
    assert.ok(Math.abs(few.high - 6.241) < 0.005, String(few.high));
    assert.ok(lossOf(pairs(100, 0, 0)).high > 1);
  });
});
