/**
 * The reference that operations on a device are measured against (test/gpu/operators.test.ts), itself compared with the interpreter of
 * whole programs: two accounts of each operation, written apart. Also that every operation of full-size SDXL has one.
 */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { BufferSpec, Program } from '../../../runtime/backends/cuda/plan/program.js';
import { elementBytes, type View } from '../../../runtime/backends/cuda/plan/view.js';
import { planProgram } from '../../../runtime/backends/cuda/plan/planner.js';
import { Model, planComponents } from '../../../runtime/pipeline/index.js';
import { componentList } from '../../../runtime/pipeline/components.js';
import { componentSizes } from '../../../runtime/pipeline/component-sizes.js';
import { float32, type Tensor } from '../../../runtime/tensor/index.js';
import type { WeightsDirectory } from '../../../runtime/weights/index.js';
import { fixture } from '../../support/fixtures.js';
import { contentsOf, distinctOperations, fillsOf, type LoneOperation } from '../../support/operations/lone-operation.js';
import { referenceOf } from '../../support/operations/reference.js';
import { sdxlPrograms, textPrograms } from '../../support/operations/sdxl-programs.js';
import { ProgramInterpreter } from '../../support/program-interpreter.js';

const noExchange = (): Promise<never> => Promise.reject(new Error('no peers'));

/** The operation as a program of its own, whose buffers are inputs; the one it writes is the output too. */
async function interpret(lone: LoneOperation, weights: WeightsDirectory): Promise<Float32Array> {
  const contents = contentsOf(lone, 'f16');
  const whole = (buffer: number, { elements, type }: BufferSpec): View => ({ buffer, offset: 0, type, shape: [elements], strides: [1] });
  const values = [...lone.buffers].map(([buffer, spec]) => ({ name: String(buffer), view: whole(buffer, spec), shape: [spec.elements] }));
  const written = String(lone.operation.y.buffer);
  const program: Program = {
    name: lone.label,
    buffers: [],
    inputs: values,
    outputs: values.filter(({ name }) => name === written),
    operations: { prompt: [], timestep: [], step: [lone.operation] },
    displaced: undefined,
    memory: { places: new Map(), arenaBytes: 0, persistentBytes: 0, halfBytes: 0 },
  };
  const interpreter = await ProgramInterpreter.open(program, weights, noExchange);
  const inputs = Object.fromEntries(
    values.map(({ name, view, shape }): [string, Tensor<'f32'>] => [
      name,
      float32(
        shape,
        Float32Array.from({ length: shape[0] ?? 0 }, (_, index) => contents(view.buffer, index)),
      ),
    ]),
  );
  const outputs = await interpreter.run(inputs);
  return outputs[written]?.data ?? assert.fail('nothing written');
}

describe('the reference of single operations', () => {
  it('agrees with the interpreter on every operation of the small networks, on one rank and in bands', async () => {
    await using model = await Model.open(fixture('random-sdxl'));
    const known = new Set<string>();
    const kinds = new Set<string>();
    for (const mesh of [
      { cfg: 1, patch: 1 },
      { cfg: 1, patch: 2 },
    ]) {
      const size = { height: 32 * mesh.patch, width: 32, guided: true };
      const { components } = planComponents(model, mesh, 0, size);
      const sizes = Object.values(componentSizes(model, mesh, size));
      for (const [index, { graph, inputRates }] of componentList(components).entries()) {
        const program = planProgram({ graph, symbols: sizes[index] ?? {}, inputStages: inputRates });
        for (const lone of distinctOperations(program, known)) {
          kinds.add(lone.operation.kind);
          const found = await interpret(lone, model.parts.unet.weights);
          const reference = referenceOf(lone.operation, contentsOf(lone, 'f16'));
          const samples = reference.samples(64);
          const expected = samples.map(reference.value);
          const scale = Math.sqrt(expected.reduce((sum, value) => sum + value ** 2, 0) / expected.length);
          samples.forEach((sample, at) => {
            const difference = Math.abs((found[reference.place(sample)] ?? Number.NaN) - (expected[at] ?? 0));
            assert.ok(difference <= 1e-5 * scale, `${lone.label}: ${String(difference)} of ${String(scale)} at ${String(sample)}`);
          });
          // What is not read beforehand is NaN in both unless written.
          const isRead = fillsOf(lone.operation).has(lone.operation.y.buffer);
          const written = found.reduce((count, value) => count + (Number.isNaN(value) ? 0 : 1), 0);
          if (!isRead) assert.equal(written, reference.count, `${lone.label}: elements written`);
        }
      }
    }
    assert.ok(kinds.size >= 13, [...kinds].join());
  });

  it('covers full-size SDXL at 1024², alone, in guidance branches and in bands', () => {
    const known = new Set<string>();
    const found: LoneOperation[] = [];
    for (const mesh of [
      { cfg: 1, patch: 1 },
      { cfg: 2, patch: 1 },
      { cfg: 1, patch: 2 },
      { cfg: 2, patch: 2 },
    ]) {
      for (const { program } of sdxlPrograms(mesh, 1024)) found.push(...distinctOperations(program, known));
    }
    for (const { program } of textPrograms()) found.push(...distinctOperations(program, known));
    for (const { operation, buffers, label } of found) {
      const fills = fillsOf(operation);
      // Everything it touches is either filled beforehand or what it writes.
      const written = [operation.y.buffer, ...(operation.kind === 'gatedGemm' ? [operation.projection.buffer] : [])];
      for (const buffer of buffers.keys()) assert.ok(fills.has(buffer) || written.includes(buffer), label);
      const spec = buffers.get(operation.y.buffer) ?? assert.fail(label);
      const { samples, place, count } = referenceOf(operation, () => 0);
      assert.ok(count <= spec.elements && spec.elements * elementBytes[spec.type] < 2 ** 31, label);
      for (const sample of samples(64)) assert.ok(sample < count && place(sample) < spec.elements, label);
    }
    assert.ok(found.length > 100, String(found.length));
  });
});
