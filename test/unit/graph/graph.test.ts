import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { GraphBuilder, printGraph, verify, type Graph, type Value } from '../../../runtime/graph/index.js';

function small(): { b: GraphBuilder; x: Value } {
  const b = new GraphBuilder('small');
  const x = b.input('x', [b.symbol('batch'), 8, b.symbol('height'), b.symbol('width')]);
  return { b, x };
}

describe('shape rules refuse what does not fit, naming the node', () => {
  const cases: readonly (readonly [string, (b: GraphBuilder, x: Value) => unknown, RegExp])[] = [
    [
      'input channels',
      (b, x) => b.conv2d('at.conv', x, b.weight('w', [4, 9, 3, 3]), b.weight('c', [4])),
      /small: conv2d at at\.conv.*input channels/,
    ],
    ['bias length', (b, x) => b.conv2d('conv', x, b.weight('w', [4, 8, 1, 1]), b.weight('c', [5])), /bias: expected \[4\], found \[5\]/],
    [
      'a stride over a sum',
      (b, x) =>
        b.conv2d('conv', b.concat('twice', 2, [x, x, x]), b.weight('w', [4, 8, 3, 3]), b.weight('c', [4]), { stride: 2, padding: 1 }),
      /stride 2 does not divide 3\*height/,
    ],
    [
      'a cut that leaves less than was there',
      (b, x) => b.upsampleNearest('up', b.upsampleNearest('whole', x, 2), 2, [b.symbol('height'), b.symbol('width')]),
      /height is no size that 2\*height times 2 is cut to/,
    ],
    [
      'groups',
      (b, x) => b.groupNorm('norm', x, b.weight('w', [8]), b.weight('c', [8]), { groups: 3, epsilon: 1e-5 }),
      /3 groups do not divide 8/,
    ],
    ['reshape', (b, x) => b.reshape('r', x, [1, 2, 3]), /element counts differ/],
    ['add', (b, x) => b.add('a', x, b.reshape('r', x, [b.symbol('batch'), 1, 8, 1])), /element counts differ|axis/],
    ['slice', (b, x) => b.slice('s', x, 1, 4, 9), /slice 4…9 of axis 1/],
    ['heads', (b) => b.attention('a', tokens(b), tokens(b), tokens(b), { heads: 3, scale: 1, causal: false }), /3 heads do not divide 8/],
    [
      'collective',
      (b, x) => b.node('collective', 'c', { group: 'patch', ranks: 2, label: 'gather', payloads: [] }, [x]),
      /0 payloads for 1 values/,
    ],
  ];
  const tokens = (b: GraphBuilder): Value => b.weight('tokens', [1, 4, 8]);
  for (const [name, build, expected] of cases) {
    it(name, () => {
      const { b, x } = small();
      assert.throws(() => build(b, x), { code: 'GRAPH_INVALID', message: expected });
    });
  }
});

it('an odd number of rows is halved rounded up, and doubled it is cut', () => {
  const { b, x } = small();
  const half = b.conv2d('down', x, b.weight('w', [8, 8, 3, 3]), b.weight('c', [8]), { stride: 2, padding: 1 });
  assert.deepEqual(half.shape.map(String), ['batch', '8', 'height/2', 'width/2']);
  const whole = b.upsampleNearest('up', half, 2, [b.symbol('height'), b.symbol('width')]);
  assert.deepEqual(whole.shape, x.shape);
});

describe('verifier', () => {
  function valid(): Graph {
    const { b, x } = small();
    b.output('y', b.activation('act', 'silu', x));
    return b.finish();
  }

  it('passes a built graph', () => {
    verify(valid());
  });

  it('names what is broken', () => {
    const graph = valid();
    const [node] = graph.nodes;
    assert.ok(node);
    const broken: readonly (readonly [Graph, RegExp])[] = [
      [{ ...graph, nodes: [node, node] }, /act: %1 is assigned twice/],
      [{ ...graph, nodes: [] }, /y: output %1 is never assigned/],
      [{ ...graph, inputs: [] }, /act: activation reads %0 before it is assigned/],
      [{ ...graph, inputs: [...graph.inputs, { name: 'x', value: 7 }] }, /two inputs have this name/],
      [{ ...graph, types: new Map([...graph.types, [1, { dtype: 'f32', shape: [1] }]]) }, /recorded as f32\[1\]/],
    ];
    for (const [changed, message] of broken) assert.throws(() => verify(changed), { code: 'GRAPH_INVALID', message });
  });

  it('prints one line a node', () => {
    assert.equal(
      printGraph(valid()),
      [
        'graph small (batch, height, width)',
        '  input %0: f32[batch, 8, height, width] = x',
        '  %1: f32[batch, 8, height, width] = activation(%0, kind="silu")  # act',
        '  output y = %1',
        '',
      ].join('\n'),
    );
  });
});
