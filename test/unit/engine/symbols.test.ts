import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { bindSymbols } from '../../../runtime/engine/index.js';
import { addDims, GraphBuilder, mulDims, type Graph } from '../../../runtime/graph/index.js';

function graph(): Graph {
  const b = new GraphBuilder('g');
  const [batch, height] = [b.symbol('batch'), b.symbol('height')];
  b.output('y', b.input('x', [batch, mulDims(4, height)]));
  b.input('halo', [batch, addDims(mulDims(4, height), 2)]);
  return b.finish();
}

describe('binding symbols', () => {
  it('solves them and checks every input', () => {
    assert.deepEqual(bindSymbols(graph(), { x: [2, 12], halo: [2, 14] }), { batch: 2, height: 3 });
  });

  const refused: readonly (readonly [string, Record<string, number[]>, RegExp])[] = [
    ['no multiple', { x: [2, 10], halo: [2, 12] }, /input x has shape \[2, 10\], expected axis 1 a multiple of 4/],
    ['another batch', { x: [2, 12], halo: [1, 14] }, /input halo has shape \[1, 14\], expected \[2, 14\]/],
    ['an input that is missing', { x: [2, 12] }, /input halo has shape \[\], expected \[batch, 4\*height \+ 2\]/],
    ['nothing', { x: [2, 0], halo: [2, 2] }, /input x/],
  ];
  for (const [name, shapes, message] of refused) {
    it(`refuses ${name}`, () => {
      assert.throws(() => bindSymbols(graph(), shapes), { code: 'SIZE_INVALID', message });
    });
  }
});
