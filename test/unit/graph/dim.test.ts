import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addDims, equalDims, evaluateDim, mulDims, productOfDims, symbol, type Dim } from '../../../runtime/graph/index.js';
import { floorDivDim } from '../../../runtime/graph/dim.js';

const names = ['batch', 'height', 'width'] as const;
const values = { batch: 2, height: 3, width: 5 };
const dim: fc.Arbitrary<Dim> = fc.letrec<{ dim: Dim }>((tie) => ({
  dim: fc.oneof(
    { depthSize: 'small' },
    fc.integer({ min: -4, max: 9 }),
    fc.constantFrom(...names).map(symbol),
    fc.tuple(tie('dim'), tie('dim')).map(([a, b]) => addDims(a, b)),
    fc.tuple(tie('dim'), tie('dim')).map(([a, b]) => mulDims(a, b)),
  ),
})).dim;

describe('symbolic sizes', () => {
  it('evaluate as the arithmetic they were built by', () => {
    fc.assert(
      fc.property(dim, dim, (a, b) => {
        const [x, y] = [evaluateDim(a, values), evaluateDim(b, values)];
        assert.equal(evaluateDim(addDims(a, b), values), x + y);
        assert.ok(evaluateDim(mulDims(a, b), values) === x * y);
      }),
    );
  });

  it('are equal however they were built', () => {
    fc.assert(
      fc.property(dim, dim, dim, (a, b, c) => {
        assert.ok(equalDims(addDims(a, b), addDims(b, a)));
        assert.ok(equalDims(mulDims(a, addDims(b, c)), addDims(mulDims(a, b), mulDims(a, c))));
      }),
    );
  });

  it('print in one canonical form', () => {
    const [height, width] = [symbol('height'), symbol('width')];
    assert.equal(String(addDims(2, mulDims(width, mulDims(4, height)))), '4*height*width + 2');
    assert.equal(productOfDims([2, 3]), 6);
    assert.equal(addDims(height, mulDims(-1, height)), 0);
  });

  it('divide only where every symbolic term does', () => {
    const rows = mulDims(4, symbol('height'));
    assert.equal(String(floorDivDim(addDims(rows, -1), 2)), '2*height + -1');
    assert.equal(floorDivDim(rows, 3), undefined);
  });

  it('need a value for every symbol', () => {
    assert.throws(() => evaluateDim(symbol('tokens'), values), /no value for symbol tokens/);
  });
});
