/** The portable backend: ONNX Runtime on the CPU, in a worker thread, weights mapped from their safetensors files. */
import { dirname, relative, sep } from 'node:path';
import type { Communicator } from '../../collectives/communicator.js';
import {
  digest,
  EngineCache,
  engineKey,
  partition,
  valueName,
  type Backend,
  type Component,
  type Engine,
  type Executor,
  type RunSpan,
} from '../../engine/index.js';
import { SdxlError } from '../../errors/index.js';
import { printGraph } from '../../graph/index.js';
import { packageVersion } from '../../package-root.js';
import { tensorDType } from '../../weights/index.js';
import { lowerGraph, loweringVersion, type ShapeInput, type WeightLocator } from './lower.js';
import { OnnxExecutor } from './onnx-executor.js';
import { parseShapeInputs, serializeShapeInputs } from './shape-inputs.js';
import { WorkerClient } from './worker-client.js';

export interface OnnxBackendOptions {
  readonly cacheDirectory: string;
  /** Intra-op threads of each session. */
  readonly threads: number;
  readonly communicator: Communicator;
  /** Told of cached engines that were found damaged and are built again. */
  readonly onDamage?: (reason: string) => void;
  /** Told after each run what it did when. */
  readonly onSpans?: ((spans: readonly RunSpan[]) => void) | undefined;
}

const shapeInputsFile = 'shape-inputs.json';

export class OnnxBackend implements Backend {
  readonly name = 'onnx';
  readonly dtype = 'f32';
  readonly #options: OnnxBackendOptions;
  readonly #cache: EngineCache;
  #worker: WorkerClient | undefined;
  #executors = 0;

  constructor(options: OnnxBackendOptions) {
    this.#options = options;
    this.#cache = new EngineCache(options.cacheDirectory);
  }

  async prepare(component: Component, signal?: AbortSignal): Promise<Engine> {
    signal?.throwIfAborted();
    requireOnnxRuntime();
    const started = performance.now();
    const plan = partition(component.graph);
    const { locate, layout } = weightLayout(component);
    const fields = {
      backend: this.name,
      version: packageVersion,
      lowering: String(loweringVersion),
      component: component.graph.name,
      graph: digest(printGraph(component.graph)),
      // Offsets and dtypes only: the weights' content is read through the engine, not built into it.
      weightLayout: digest(layout),
    };
    const key = engineKey(fields);
    const onDamage = this.#options.onDamage ?? (() => undefined);
    const found = await this.#cache.find(key, onDamage);
    if (found === undefined) {
      const lowered = plan.segments.map((segment) => lowerGraph(segment, locate, valueName));
      const files = new Map<string, Uint8Array>(lowered.map(({ model }, index) => [segmentFile(index), model]));
      files.set(shapeInputsFile, serializeShapeInputs(lowered.map(({ shapeInputs }) => shapeInputs)));
      signal?.throwIfAborted();
      await this.#cache.publish(key, fields, files);
    }
    const buildSeconds = (performance.now() - started) / 1000;
    return { component, plan, key, directory: this.#cache.directoryOf(key), cached: found !== undefined, buildSeconds };
  }

  async load(engine: Engine, signal?: AbortSignal): Promise<Executor> {
    signal?.throwIfAborted();
    const { component, plan } = engine;
    const files = await this.#cache.find(engine.key, this.#options.onDamage ?? (() => undefined));
    const file = (name: string): Uint8Array => {
      const content = files?.get(name);
      if (content !== undefined) return content;
      throw new SdxlError('ENGINE_BUILD_FAILED', `${engine.directory} lost ${name} after it was built: run again`, {
        fields: { directory: engine.directory, file: name },
      });
    };
    const shapeInputs: ShapeInput[][] = parseShapeInputs(file(shapeInputsFile));
    this.#worker ??= new WorkerClient();
    const id = this.#executors++;
    await this.#worker.request({
      kind: 'load',
      executor: id,
      name: component.graph.name,
      models: plan.segments.map((_, index) => file(segmentFile(index))),
      weightsDirectory: weightLayout(component).directory,
      threads: this.#options.threads,
    });
    const { communicator, onSpans } = this.#options;
    const world = Array.from({ length: communicator.worldSize }, (_, rank) => rank);
    const groups = { rank: communicator.rank, patch: component.patchGroup, world };
    return new OnnxExecutor({ id, plan, shapeInputs, groups, worker: this.#worker, communicator, onSpans });
  }

  async close(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.close();
  }
}

function segmentFile(index: number): string {
  return `segment-${String(index).padStart(3, '0')}.onnx`;
}

/**
 * Where every weight of the graph lies; checks presence, shape and dtype. ONNX Runtime finds files below one folder: that of the files,
 * or the nearest that holds them all.
 */
function weightLayout(component: Component): { readonly locate: WeightLocator; readonly layout: string; readonly directory: string } {
  const entries = component.graph.weights.map(({ key, shape }) => component.weights.require(key, shape));
  const directory = commonFolder(entries.map(({ realPath }) => realPath)) ?? component.weights.directory;
  const located = new Map<string, ReturnType<WeightLocator>>();
  for (const entry of entries) {
    const { name, shape, offset: offsetBytes, sizeBytes, realPath } = entry;
    const dtype = tensorDType(entry);
    if (dtype === undefined) throw new Error(`${name} has dtype ${entry.dtype} although it was checked`);
    located.set(name, { dtype, shape, file: relative(directory, realPath), offsetBytes, sizeBytes });
  }
  const locate: WeightLocator = (key) => {
    const location = located.get(key);
    if (location === undefined) throw new Error(`no weight ${key}`);
    return location;
  };
  return { locate, layout: JSON.stringify([...located]), directory };
}

/** The deepest folder that all files lie below; undefined where there are none. */
function commonFolder(files: readonly string[]): string | undefined {
  let common: readonly string[] | undefined;
  for (const folder of new Set(files.map((file) => dirname(file)))) {
    const parts = folder.split(sep);
    const known: readonly string[] = common ?? parts;
    const differs = known.findIndex((part, index) => part !== parts[index]);
    common = differs === -1 ? known : known.slice(0, differs);
  }
  return common === undefined ? undefined : common.join(sep) || sep;
}

/** Bundles for GPU hosts are made without it; only the worker imports it. */
function requireOnnxRuntime(): void {
  try {
    import.meta.resolve('onnxruntime-node');
  } catch (cause) {
    throw new SdxlError(
      'BACKEND_UNAVAILABLE',
      'the ONNX backend needs onnxruntime-node, which this installation was made without: choose another backend, or install it with onnxruntime-node',
      { cause },
    );
  }
}
