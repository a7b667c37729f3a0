/** An execution plan of cuDNN: one engine with its knobs, ready to run. */
import { attribute, runtimeCompilation } from './cudnn-functions.js';
import { Descriptor, type CudnnCalls } from './cudnn-descriptor.js';

/** More than any engine has. */
const maxKnobs = 64;

/** What plans are made for: a handle, or a described device where there is none (plans are then only looked at). */
export type CudnnTarget = { readonly handle: bigint } | { readonly device: Descriptor };

export class CudnnPlan implements Disposable {
  /** The engine and its knobs: `engine 41 (2=0, 3=1)`. */
  readonly label: string;
  readonly workspaceBytes: number;
  /** Whether its kernel was compiled when it was built (tens to hundreds of milliseconds). */
  readonly runtimeCompiled: boolean;
  readonly handle: bigint;
  readonly #descriptor: Descriptor;

  private constructor(descriptor: Descriptor, engine: EngineDescription) {
    this.#descriptor = descriptor;
    this.handle = descriptor.handle;
    this.label = engine.label;
    this.runtimeCompiled = engine.runtimeCompiled;
    this.workspaceBytes = Number(descriptor.int64s(attribute.planWorkspace)[0] ?? 0n);
  }

  /** Builds the plan of one engine configuration; cuDNN's words where it refuses. */
  static build(
    calls: CudnnCalls,
    target: CudnnTarget,
    config: Descriptor,
    engine: EngineDescription,
  ): CudnnPlan | { readonly refusal: string } {
    const plan = new Descriptor(calls, 'plan');
    try {
      if ('handle' in target) plan.set(attribute.planHandle, 'handle', [target.handle]);
      else plan.set(attribute.planDevice, 'descriptor', [target.device]);
      plan.set(attribute.planConfig, 'descriptor', [config]);
      const refused = plan.tryFinalize();
      if (refused === undefined) return new CudnnPlan(plan, engine);
      plan.close();
      return refused;
    } catch (error) {
      plan.close();
      throw error;
    }
  }

  /** Undefined where the text is no plan, or this version of cuDNN refuses it. */
  static deserialize(calls: CudnnCalls, handle: bigint, text: string): CudnnPlan | undefined {
    const engine = parseSerialized(text);
    if (engine === undefined) return undefined;
    const plan = new Descriptor(calls, 'plan');
    try {
      plan.set(attribute.planHandle, 'handle', [handle]);
      plan.set(attribute.planJson, 'char', Buffer.from(engine.json));
      if (plan.tryFinalize() === undefined) return new CudnnPlan(plan, engine);
    } catch {
      // A text of another version: refused like a plan that does not fit.
    }
    plan.close();
    return undefined;
  }

  /** As text, with the compiled kernel where there is one. Holds for the same cuDNN version and device. */
  serialize(): string {
    const json = new TextDecoder().decode(this.#descriptor.bytes(attribute.planJson)).replace(/\0+$/u, '');
    return JSON.stringify({ label: this.label, runtimeCompiled: this.runtimeCompiled, json });
  }

  close(): void {
    this.#descriptor.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export interface EngineDescription {
  readonly label: string;
  readonly runtimeCompiled: boolean;
}

export function describeEngine(config: Descriptor): EngineDescription {
  const [engine] = config.descriptors(attribute.configEngine, 'engine', 1);
  const knobs = config.descriptors(attribute.configKnobs, 'knobChoice', maxKnobs);
  try {
    const index = engine?.int64s(attribute.engineIndex)[0] ?? -1n;
    const choices = knobs.map((knob) => `${knob.enums(attribute.knobType, 'knobType')[0]}=${knob.int64s(attribute.knobValue)[0]}`);
    const notes = engine?.enums(attribute.engineBehaviorNotes, 'behaviorNote') ?? [];
    return { label: `engine ${index} (${choices.sort().join(', ')})`, runtimeCompiled: notes.includes(runtimeCompilation) };
  } finally {
    engine?.close();
    for (const knob of knobs) knob.close();
  }
}

function parseSerialized(text: string): (EngineDescription & { readonly json: string }) | undefined {
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null) return undefined;
    if (!('label' in parsed && 'runtimeCompiled' in parsed && 'json' in parsed)) return undefined;
    const { label, runtimeCompiled, json } = parsed;
    if (typeof label !== 'string' || typeof runtimeCompiled !== 'boolean' || typeof json !== 'string') return undefined;
    return { label, runtimeCompiled, json };
  } catch {
    return undefined; // No JSON: not a plan.
  }
}
