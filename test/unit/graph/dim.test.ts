import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addDims, dependsOn, equalDims, evaluateDim, mulDims, productOfDims, symbol, type Dim } from '../../../runtime/graph/index.js';
import { ceilDivDim } from '../../../runtime/graph/dim.js';

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

  it('divide, rounded up, where every symbolic term does, and a symbol by anything', () => {
    const height = symbol('height');
    const rows = mulDims(4, height);
    assert.equal(String(ceilDivDim(addDims(rows, -1), 2)), '2*height');
    assert.equal(ceilDivDim(rows, 3), undefined);
    const quarter = ceilDivDim(ceilDivDim(height, 2) ?? 0, 2) ?? 0;
    assert.equal(String(mulDims(quarter, symbol('width'))), 'height/4*width');
    assert.ok(dependsOn(quarter, 'height') && !dependsOn(quarter, 'width'));
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 1000 }), (latents) => {
        assert.equal(evaluateDim(quarter, { height: latents }), Math.ceil(Math.ceil(latents / 2) / 2));
      }),
    );
  });

  it('need a value for every symbol', () => {
    assert.throws(() => evaluateDim(symbol('tokens'), values), /no value for symbol tokens/);
  });
});
