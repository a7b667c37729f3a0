import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { architectures } from '../../../bench/models/architectures.js';
import { BufferPlan } from '../../../runtime/backends/onnx/buffer-plan.js';
import { schedulePlan, type ExchangeStep } from '../../../runtime/backends/onnx/schedule.js';
import { partition } from '../../../runtime/engine/index.js';
import { evaluateShape, typeOf, type ValueId } from '../../../runtime/graph/index.js';
import { buildUnet, parseUnetConfig } from '../../../runtime/models/index.js';
import { placeInMesh, shard } from '../../../runtime/parallel/index.js';

const mesh = { cfg: 1, patch: 4 };
const plan = partition(shard(buildUnet(parseUnetConfig(architectures.medium.unet, 'unet')), mesh));
const symbols = { batch: 2, height: 8, width: 32, tokens: 77 };

describe('buffers', () => {
  it('never hold two values that are alive at once', () => {
    const bytes = (value: ValueId): number => evaluateShape(typeOf(plan.graph, value).shape, symbols).reduce((a, b) => a * b, 4);
    const buffers = new BufferPlan(plan, bytes);
    const idsOf = (uses: readonly (ValueId | { readonly value: ValueId })[]): ValueId[] =>
      uses.map((use) => (typeof use === 'number' ? use : use.value));
    const holds = new Map<number, ValueId>(plan.graph.inputs.map(({ value }) => [buffers.of(value), value]));
    for (const step of plan.steps) {
      const use = step.kind === 'exchange' ? step.node : plan.segments[step.segment];
      assert.ok(use);
      for (const value of idsOf(use.inputs))
        assert.equal(holds.get(buffers.of(value)), value, `%${String(value)} was overwritten before it was read`);
      for (const value of idsOf(use.outputs)) {
        assert.ok(!idsOf(use.inputs).some((input) => buffers.of(input) === buffers.of(value)), 'an output overwrites an operand');
        holds.set(buffers.of(value), value);
        assert.ok((buffers.sizes[buffers.of(value)] ?? 0) >= bytes(value));
      }
    }
    for (const { value } of [...plan.graph.inputs, ...plan.graph.outputs]) assert.equal(holds.get(buffers.of(value)), value);
  });
});

describe('exchanges of every rank fit together', () => {
  const world = [0, 1, 2, 3];
  const schedules = world.map((rank) =>
    schedulePlan(
      plan,
      plan.segments.map(() => []),
      symbols,
      { rank, patch: placeInMesh(mesh, rank).patchGroup, world },
    ),
  );
  const exchange = (rank: number, index: number): ExchangeStep => {
    const step = schedules[rank]?.steps[index];
    assert.ok(step?.kind === 'exchange');
    return step;
  };

  it('what one sends is what the other expects, in the same order', () => {
    for (const [index, step] of plan.steps.entries()) {
      if (step.kind !== 'exchange') continue;
      for (const from of world) {
        for (const to of world.filter((rank) => rank !== from)) {
          const sent = exchange(from, index).sends.filter(({ peer }) => peer === to);
          const received = exchange(to, index).receives.filter(({ peer }) => peer === from);
          assert.deepEqual(
            sent.map(({ bytes }) => bytes),
            received.map(({ bytes }) => bytes),
          );
        }
      }
    }
  });

  it('every byte of every collective output is written exactly once', () => {
    for (const [index, step] of plan.steps.entries()) {
      if (step.kind !== 'exchange') continue;
      for (const rank of world) {
        const written = new Map<number, [number, number][]>();
        for (const { to, bytes } of exchange(rank, index).unpack) {
          assert.ok(typeof to.buffer === 'number');
          written.set(to.buffer, [...(written.get(to.buffer) ?? []), [to.offset, to.offset + bytes]]);
        }
        const outputBytes: number[] = step.node.outputs.map((value) =>
          evaluateShape(typeOf(plan.graph, value).shape, symbols).reduce((a, b) => a * b, 4),
        );
        const covered = [...written.values()].map((ranges) => {
          const sorted = ranges.sort(([a], [b]) => a - b);
          sorted.forEach(([start], position) => {
            assert.equal(start, position === 0 ? 0 : sorted[position - 1]?.[1]);
          });
          return sorted.at(-1)?.[1] ?? 0;
        });
        assert.deepEqual(covered.sort(), outputBytes.sort());
      }
    }
  });
});
