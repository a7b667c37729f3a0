/**
 * From a graph and the sizes of one run to a {@link Program}: walks the nodes in order, turns movement into views, emits one operation
 * for each group of nodes that plan/patterns.ts found, and notes which buffer everything lies in.
 *
 * Physical types: images and tokens in the half type; ids i64; statistics, and what only sinusoids read, f32. Channels of images are
 * padded to a multiple of 8 (16 bytes, what tensor cores load at once); the padding holds zeros, as the padded weights do.
 */
import { typeOf, type Graph, type Node, type SymbolValues, type ValueId } from '../../../graph/index.js';
import { displaceProgram, type PlanDisplacement } from './displace.js';
import { planMemory } from './memory.js';
import { stages, type Stage } from './operations.js';
import { isAlias } from './patterns.js';
import { planAdd, planMultiply, planPointwise } from './plan-arithmetic.js';
import { planAttention } from './plan-attention.js';
import { planCollective, planConcat, planEmbedding, planPadRows } from './plan-movement.js';
import { groupsOf, planLayerNorm, planNormalize } from './plan-norms.js';
import { planConvolution, planLinear } from './plan-products.js';
import { PlanState } from './plan-state.js';
import type { Program, ProgramValue } from './program.js';
import { sliceView } from './view.js';

export interface PlanOptions {
  readonly graph: Graph;
  readonly symbols: SymbolValues;
  /** The stage from which each input is known; inputs not named here change in every step. */
  readonly inputStages: Readonly<Record<string, Stage>>;
  /** Memory for the fp32 scores of a head too wide for fused attention, of at least 128 queries; 128 MiB where not given. */
  readonly scoreBytes?: number;
  /** How steps after the warm-up are displaced; undefined: all are synchronous. */
  readonly displaced?: PlanDisplacement | undefined;
}

export function planProgram(options: PlanOptions): Program {
  const planned = new Planner(options).run();
  const program = options.displaced === undefined ? { ...planned, displaced: undefined } : displaceProgram(planned, options.displaced);
  return { ...program, memory: planMemory(program) };
}

class Planner {
  readonly #state: PlanState;
  readonly #inputStages: Readonly<Record<string, Stage>>;

  constructor({ graph, symbols, inputStages, scoreBytes = 128 << 20 }: PlanOptions) {
    this.#state = new PlanState(graph, symbols, scoreBytes);
    this.#inputStages = inputStages;
  }

  run(): Omit<Program, 'memory' | 'displaced'> {
    const state = this.#state;
    const inputs = state.graph.inputs.map(({ name, value }) => this.#input(name, value));
    state.graph.nodes.forEach((node, position) => {
      state.position = position;
      state.stage = this.#stageOfNode(node);
      for (const output of node.outputs) state.stageOf.set(output, state.stage);
      this.#emitNode(node);
    });
    const outputs = state.graph.outputs.map(({ name, value }) => ({ name, view: state.view(value), shape: state.logicalShape(value) }));
    return { name: state.graph.name, buffers: state.buffers, inputs, outputs, operations: state.operations };
  }

  #input(name: string, value: ValueId): ProgramValue {
    const state = this.#state;
    const { dtype } = typeOf(state.graph, value);
    const type = dtype === 'i64' ? 'i64' : this.#feedsSinusoid(value) ? 'f32' : 'half';
    const view = state.allocate(state.shape(value), type, 'input');
    state.stageOf.set(value, this.#inputStages[name] ?? 'step');
    state.define(value, view);
    return { name, view, shape: state.logicalShape(value) };
  }

  /** Sizes and timesteps beyond 2048 are no fp16 numbers. */
  #feedsSinusoid(value: ValueId): boolean {
    const state = this.#state;
    const consumers = state.patterns.consumersOf(value);
    return (
      consumers.length > 0 &&
      consumers.every((node) => node.op === 'sinusoid' || (isAlias(node) && this.#feedsSinusoid(node.outputs[0] ?? -1)))
    );
  }

  #emitNode(node: Node): void {
    const state = this.#state;
    const { patterns } = state;
    if (patterns.absorbed.has(node) || patterns.deferred.has(node)) return;
    switch (node.op) {
      case 'linear':
        planLinear(state, node);
        return;
      case 'conv2d':
        planConvolution(state, node, node.outputs[0] ?? -1, [], undefined);
        return;
      case 'attention':
        planAttention(state, node);
        return;
      case 'layerNorm':
        planLayerNorm(state, node);
        return;
      case 'groupNorm':
      case 'groupNormalize':
        planNormalize(state, node);
        return;
      case 'groupMoments': {
        const [source = -1] = node.inputs;
        const y = state.result(node.outputs[0] ?? -1, 'f32');
        state.push({ kind: 'groupMoments', name: node.name, source: state.source(source), groups: groupsOf(state, node), y });
        return;
      }
      case 'boundaryRows': {
        const y = state.result(node.outputs[0] ?? -1);
        state.push({ kind: 'boundaryRows', name: node.name, source: state.source(node.inputs[0] ?? -1), rows: node.params.rows, y });
        return;
      }
      case 'padRows':
        planPadRows(state, node);
        return;
      case 'add':
        planAdd(state, node);
        return;
      case 'mul':
        planMultiply(state, node);
        return;
      case 'activation':
        planPointwise(state, node, node.params.kind);
        return;
      case 'affine': {
        const x = state.view(node.inputs[0] ?? -1);
        const y = state.result(node.outputs[0] ?? -1, 'half', x.shape);
        const { factor, offset } = node.params;
        state.push({ kind: 'pointwise', name: node.name, function: 'affine', x, y, factor, offset });
        return;
      }
      case 'embedding':
        planEmbedding(state, node);
        return;
      case 'selectToken': {
        const [x, index] = [state.view(node.inputs[0] ?? -1), state.view(node.inputs[1] ?? -1)];
        state.push({ kind: 'selectToken', name: node.name, x, index, y: state.matrix(state.result(node.outputs[0] ?? -1), node) });
        return;
      }
      case 'sinusoid': {
        const { flipSinToCos, shift, maxPeriod } = node.params;
        const [x, y] = [state.view(node.inputs[0] ?? -1), state.matrix(state.result(node.outputs[0] ?? -1), node)];
        state.push({ kind: 'sinusoid', name: node.name, x, y, flipSinToCos, shift, maxPeriod });
        return;
      }
      case 'reshape':
      case 'transpose':
        state.define(node.outputs[0] ?? -1, state.aliased(node, state.view(node.inputs[0] ?? -1)));
        return;
      case 'slice': {
        const { axis, start, end } = node.params;
        state.define(node.outputs[0] ?? -1, sliceView(state.view(node.inputs[0] ?? -1), axis, start, end));
        return;
      }
      case 'concat':
        planConcat(state, node);
        return;
      case 'upsampleNearest': {
        const [x, y] = [state.view(node.inputs[0] ?? -1), state.result(node.outputs[0] ?? -1)];
        state.push({ kind: 'upsample', name: node.name, x, factor: node.params.factor, y });
        return;
      }
      case 'collective':
        planCollective(state, node);
        return;
      default:
        node satisfies never;
    }
  }

  /** The latest stage any operand comes from. */
  #stageOfNode(node: Node): Stage {
    const state = this.#state;
    const inputs = [...node.inputs, ...(state.patterns.epilogues.get(node)?.producer.inputs ?? [])];
    const order = inputs.filter((input) => !state.weights.has(input)).map((input) => stages.indexOf(state.stageOf.get(input) ?? 'prompt'));
    return stages[Math.max(0, ...order)] ?? 'step';
  }
}
