/** An operation graph of cuDNN: finds plans for it and runs them. What the graph computes, its builder knows. */
import { setImmediate } from 'node:timers/promises';
import { SdxlError } from '../../../errors/index.js';
import { closeAll } from './close-all.js';
import { attribute, cudnnDataType, heuristicMode } from './cudnn-functions.js';
import { Descriptor, type CudnnCalls } from './cudnn-descriptor.js';
import { CudnnPlan, describeEngine, type CudnnTarget } from './cudnn-plan.js';
import type { Workspace } from './matmul.js';
import { statusError } from './status.js';
import type { Stream } from './stream.js';

/** The library as its operations see it. */
export interface CudnnContext {
  readonly calls: CudnnCalls;
  readonly target: CudnnTarget;
  /** Makes the handle enqueue on this stream. */
  useStream(stream: Stream): void;
}

export interface TensorSpec {
  readonly id: number;
  readonly dims: readonly number[];
  readonly strides: readonly number[];
  readonly dtype: keyof typeof cudnnDataType;
  /** Exists inside the graph only. */
  readonly virtual?: boolean;
  /** A number of the host, passed by its address. */
  readonly byValue?: boolean;
}

/** Collects the descriptors of one graph. */
export class GraphBuilder {
  readonly #calls: CudnnCalls;
  readonly #descriptors: Descriptor[] = [];
  readonly #operations: Descriptor[] = [];

  constructor(calls: CudnnCalls) {
    this.#calls = calls;
  }

  descriptor(kind: ConstructorParameters<typeof Descriptor>[1]): Descriptor {
    const descriptor = new Descriptor(this.#calls, kind);
    this.#descriptors.push(descriptor);
    return descriptor;
  }

  tensor(spec: TensorSpec): Descriptor {
    const tensor = this.descriptor('tensor')
      .set(attribute.tensorId, 'int64', [spec.id])
      .set(attribute.tensorType, 'dataType', [cudnnDataType[spec.dtype]])
      .set(attribute.tensorAlignment, 'int64', [16])
      .set(attribute.tensorDims, 'int64', spec.dims)
      .set(attribute.tensorStrides, 'int64', spec.strides);
    if (spec.virtual === true) tensor.set(attribute.tensorVirtual, 'boolean', [1]);
    if (spec.byValue === true) tensor.set(attribute.tensorByValue, 'boolean', [1]);
    return tensor.finalize();
  }

  /** Adds a finished operation. */
  operation(operation: Descriptor): void {
    this.#operations.push(operation.finalize());
  }

  graph(target: CudnnTarget): Descriptor {
    const graph = this.descriptor('operationGraph').set(attribute.graphOperations, 'descriptor', this.#operations);
    if ('handle' in target) graph.set(attribute.graphHandle, 'handle', [target.handle]);
    return graph.finalize();
  }

  close(): void {
    closeAll(this.#descriptors.reverse());
  }
}

export class CudnnOperation<Operands> implements Disposable {
  /** For messages. */
  readonly name: string;
  readonly #context: CudnnContext;
  readonly #builder: GraphBuilder;
  readonly #graph: Descriptor;
  readonly #bindings: (operands: Operands) => readonly (readonly [id: number, pointer: bigint])[];
  readonly #packs = new Map<string, Descriptor>();
  readonly #onClose: () => void;
  #open = true;

  constructor(
    context: CudnnContext,
    name: string,
    build: (builder: GraphBuilder) => void,
    bindings: (operands: Operands) => readonly (readonly [id: number, pointer: bigint])[],
    onClose: () => void = () => undefined,
  ) {
    this.name = name;
    this.#context = context;
    this.#bindings = bindings;
    this.#onClose = onClose;
    this.#builder = new GraphBuilder(context.calls);
    try {
      build(this.#builder);
      this.#graph = this.#builder.graph(context.target);
    } catch (error) {
      this.#builder.close();
      onClose();
      throw error;
    }
  }

  /**
   * Plans worth timing, the heuristic's first choice first; plans compiled at run time, and those of mode FALLBACK, only where
   * there are no others; none that wants more than `workspaceBytes`. The caller closes them. Lets the event loop run between builds.
   * @throws SdxlError ENGINE_BUILD_FAILED where there is none, with cuDNN's reasons.
   */
  async candidates(limit = 64, workspaceBytes = Number.POSITIVE_INFINITY, signal?: AbortSignal): Promise<readonly CudnnPlan[]> {
    const refusals = new Set<string>();
    for (const modes of [['a', 'b'], ['instant'], ['fallback']] as const) {
      const plans = await this.#plans(modes, limit, workspaceBytes, refusals, signal);
      if (plans.length > 0) return plans;
    }
    const { version, codes } = this.#context.calls;
    throw new SdxlError('ENGINE_BUILD_FAILED', `cuDNN ${version} has no plan for ${this.name}: ${[...refusals].slice(0, 3).join('; ')}`, {
      fields: { library: codes.library, problem: this.name },
    });
  }

  /** A plan from {@link CudnnPlan.serialize}; undefined where this version of cuDNN refuses it. */
  deserialize(text: string): CudnnPlan | undefined {
    const { target, calls } = this.#context;
    return 'handle' in target ? CudnnPlan.deserialize(calls, target.handle, text) : undefined;
  }

  /** Enqueues. What cuDNN needs to know of a set of pointers is kept for the next call with the same ones. */
  run(plan: CudnnPlan, operands: Operands, workspace: Workspace, stream: Stream): void {
    const { target, calls } = this.#context;
    if (!('handle' in target)) throw new Error('plans for a described device do not run');
    const pack = this.#pack(this.#bindings(operands), workspace.pointer);
    this.#context.useStream(stream);
    const status = calls.unchecked.cudnnBackendExecute(target.handle, plan.handle, pack.handle);
    if (status !== 0) throw statusError(calls.codes, 'cudnnBackendExecute', status, { what: `${this.name} (${plan.label})` });
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeAll([...this.#packs.values(), this.#builder, { close: this.#onClose }]);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #plans(
    modes: readonly (keyof typeof heuristicMode)[],
    limit: number,
    workspaceBytes: number,
    refusals: Set<string>,
    signal: AbortSignal | undefined,
  ): Promise<readonly CudnnPlan[]> {
    const { calls, target } = this.#context;
    const plans: CudnnPlan[] = [];
    const seen = new Set<string>();
    const configs = modes.flatMap((mode) => this.#configs(mode, refusals));
    try {
      // Sorting is stable: the heuristic's order holds among those that need no compiler.
      const described = configs.map((config) => ({ config, engine: describeEngine(config) }));
      const precompiled = described.filter(({ engine }) => !engine.runtimeCompiled);
      for (const { config, engine } of precompiled.length > 0 ? precompiled : described) {
        if (plans.length >= limit || seen.has(engine.label)) continue;
        seen.add(engine.label);
        await setImmediate();
        signal?.throwIfAborted();
        const built = CudnnPlan.build(calls, target, config, engine);
        if (!(built instanceof CudnnPlan)) refusals.add(built.refusal);
        else if (built.workspaceBytes <= workspaceBytes) plans.push(built);
        else {
          refusals.add(`${engine.label} wants a workspace of ${built.workspaceBytes} bytes, there are ${workspaceBytes}`);
          built.close();
        }
      }
      return plans;
    } catch (error) {
      for (const plan of plans) plan.close();
      throw error;
    } finally {
      for (const config of configs) config.close();
    }
  }

  #configs(mode: keyof typeof heuristicMode, refusals: Set<string>): readonly Descriptor[] {
    const { calls, target } = this.#context;
    using heuristic = new Descriptor(calls, 'heuristic')
      .set(attribute.heuristicGraph, 'descriptor', [this.#graph])
      .set(attribute.heuristicMode, 'heuristicMode', [heuristicMode[mode]]);
    if ('device' in target) heuristic.set(attribute.heuristicDevice, 'descriptor', [target.device]);
    const refused = heuristic.tryFinalize();
    if (refused === undefined) return heuristic.descriptors(attribute.heuristicResults, 'engineConfig');
    refusals.add(refused.refusal);
    return [];
  }

  #pack(bindings: readonly (readonly [number, bigint])[], workspace: bigint): Descriptor {
    const key = `${workspace}:${bindings.map(([, pointer]) => pointer).join(',')}`;
    let pack = this.#packs.get(key);
    if (pack === undefined) {
      pack = new Descriptor(this.#context.calls, 'variantPack')
        .set(attribute.packWorkspace, 'pointer', [workspace])
        .set(
          attribute.packPointers,
          'pointer',
          bindings.map(([, pointer]) => pointer),
        )
        .set(
          attribute.packIds,
          'int64',
          bindings.map(([id]) => id),
        )
        .finalize();
      this.#packs.set(key, pack);
    }
    return pack;
  }
}
