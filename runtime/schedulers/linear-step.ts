/**
 * One denoising step as numbers. Every sampler here is linear in its tensors, so a schedule is a table of coefficients, and one
 * host function (below) or one device kernel executes them all.
 *
 * State of an image, each buffer shaped as the latents, float32:
 *
 * | buffer       | before step i                                                                    |
 * | ------------ | -------------------------------------------------------------------------------- |
 * | `sample`     | x, what the previous step made; before step 0 the noise times `initNoiseSigma`   |
 * | `anchor`     | the point the previous step set out from                                         |
 * | `history[k]` | m(k+1), the converted model output of step i − 1 − k, for k from 0 to 2          |
 *
 * `anchor` and `history` hold anything before the first step, and `history[k]` before step k + 1: their coefficients are 0
 * there, and what has the coefficient 0 must not be read (0 · NaN is NaN).
 *
 * Step i, in this order, each result rounded to float32 once:
 *
 * 1. The UNet's input is `inputScale` · x. Its output, after guidance, is e.
 * 2. m0 = `converted.sample` · x + `converted.output` · e: the image the model sees behind x, or in some samplers the noise.
 * 3. anchor' = `anchor.sample` · x + `anchor.anchor` · anchor + Σ `anchor.converted[k]` · mk. It is x itself in most samplers; UniPC's
 *    corrector replaces x by a better estimate now that e is known, and samplers with several calls to a step set out from the first's x again.
 * 4. x' = `next.anchor` · anchor' + Σ `next.converted[k]` · mk + `next.noise` · z. Where `next.noise` is not 0, z is drawn from the image's
 *    generator, whole and on the host, in the order of steps; where it is 0 nothing is drawn.
 * 5. history = [m0, m1, m2], anchor = anchor', sample = x'.
 */
import { SdxlError } from '../errors/index.js';
import type { Generator } from '../tensor/index.js';

/** Weights of m0, the newest converted model output, to m3. */
export type ConvertedWeights = readonly [number, number, number, number];

export interface LinearStep {
  readonly inputScale: number;
  readonly converted: { readonly sample: number; readonly output: number };
  readonly anchor: { readonly sample: number; readonly anchor: number; readonly converted: ConvertedWeights };
  readonly next: { readonly anchor: number; readonly converted: ConvertedWeights; readonly noise: number };
}

/** anchor' = x. */
export const sampleAsAnchor: LinearStep['anchor'] = { sample: 1, anchor: 0, converted: [0, 0, 0, 0] };

/** anchor' = anchor: the step sets out from where the last one did. */
export const keptAnchor: LinearStep['anchor'] = { sample: 0, anchor: 1, converted: [0, 0, 0, 0] };

/** How many converted outputs of earlier steps a schedule reads: 0 to 3. */
export function historyLength(steps: readonly LinearStep[]): number {
  const longest = ({ anchor, next }: LinearStep): number =>
    [1, 2, 3].findLast((k) => anchor.converted[k] !== 0 || next.converted[k] !== 0) ?? 0;
  return steps.reduce((most, step) => Math.max(most, longest(step)), 0);
}

/** The step, from 1, that a call of the UNet belongs to, from 1 as well: some samplers make more calls than the steps that were asked for. */
export function stepOfCall(call: number, calls: number, numInferenceSteps: number): number {
  return Math.ceil((call * numInferenceSteps) / calls);
}

/**
 * The steps as given, once every coefficient is known to be a number. `numInferenceSteps`: how many were asked for, where calls are more.
 * @throws SdxlError JOB_INVALID where a step divides by zero: two steps at one noise level, or noise predicted where there is only noise
 */
export function finiteSteps(className: string, steps: readonly LinearStep[], numInferenceSteps = steps.length): readonly LinearStep[] {
  const bad = steps.findIndex((step) => !coefficients(step).every(Number.isFinite));
  if (bad < 0) return steps;
  const step = stepOfCall(bad + 1, steps.length, numInferenceSteps);
  const where = `numInferenceSteps ${String(numInferenceSteps)}: step ${String(step)} of ${className}`;
  throw new SdxlError('JOB_INVALID', `${where} has no finite coefficients: two steps share a noise level, or the step divides by zero`, {
    fields: { field: 'numInferenceSteps', value: numInferenceSteps, step, scheduler: className },
  });
}

function coefficients({ inputScale, converted, anchor, next }: LinearStep): number[] {
  const ofAnchor = [anchor.sample, anchor.anchor, ...anchor.converted];
  return [inputScale, converted.sample, converted.output, ...ofAnchor, next.anchor, ...next.converted, next.noise];
}

/** The noise of one step, undefined where the step adds none. Call it once a step, in order. */
export function drawNoise({ next }: LinearStep, generator: Generator | undefined, length: number): Float32Array | undefined {
  if (next.noise === 0) return undefined;
  if (generator === undefined) throw new Error('this schedule adds noise: give it the generator of the image');
  return generator.randn([length]).data;
}

/** A weighted buffer. */
interface Term {
  readonly weight: number;
  readonly values: Float32Array;
}

/** One image on the host: `step` is called once for every index, in order. Sums are double, results float32. */
export class LinearStepRun {
  readonly #steps: readonly LinearStep[];
  readonly #generator: Generator | undefined;
  #anchor: Float32Array | undefined;
  /** m1, m2, m3, as far as there are such. */
  #history: readonly Float32Array[] = [];

  /** @param generator The image's own, where the latents' noise was drawn; needed only where a step adds noise. */
  constructor({ steps }: { readonly steps: readonly LinearStep[] }, generator?: Generator) {
    this.#steps = steps;
    this.#generator = generator;
  }

  /** The UNet's input for step `index`. `into` may be the sample itself. */
  scaleModelInput(sample: Float32Array, index: number, into: Float32Array = new Float32Array(sample.length)): Float32Array {
    requireLength('into', into, sample.length);
    return combine([{ weight: this.#step(index).inputScale, values: sample }], into);
  }

  /** The sample after step `index`, from the guided model output. `into` may be the sample itself. */
  step(modelOutput: Float32Array, index: number, sample: Float32Array, into: Float32Array = new Float32Array(sample.length)): Float32Array {
    requireLength('modelOutput', modelOutput, sample.length);
    requireLength('into', into, sample.length);
    const step = this.#step(index);
    const { length } = sample;
    const noise = drawNoise(step, this.#generator, length);

    const converted = combine(
      [
        { weight: step.converted.sample, values: sample },
        { weight: step.converted.output, values: modelOutput },
      ],
      new Float32Array(length),
    );
    const outputs = [converted, ...this.#history];
    const anchor = combine(
      [
        { weight: step.anchor.sample, values: sample },
        ...weighted('anchor', [step.anchor.anchor], [this.#anchor]),
        ...weighted('converted output', step.anchor.converted, outputs),
      ],
      new Float32Array(length),
    );
    const next = [
      { weight: step.next.anchor, values: anchor },
      ...weighted('converted output', step.next.converted, outputs),
      ...weighted('noise', [step.next.noise], [noise]),
    ];
    this.#anchor = anchor;
    this.#history = outputs.slice(0, 3);
    return combine(next, into);
  }

  #step(index: number): LinearStep {
    const step = this.#steps[index];
    if (step === undefined) throw new RangeError(`step ${String(index)} of ${String(this.#steps.length)}`);
    return step;
  }
}

/** Pairs weights with buffers; a buffer that does not exist yet must have the weight 0. */
function weighted(name: string, weights: readonly number[], buffers: readonly (Float32Array | undefined)[]): Term[] {
  return weights.flatMap((weight, at) => {
    if (weight === 0) return [];
    const values = buffers[at];
    if (values === undefined) throw new Error(`${name} ${String(at)} does not exist yet but has the weight ${String(weight)}`);
    return [{ weight, values }];
  });
}

/** Σ weight · values, terms of weight 0 unread. */
function combine(terms: readonly Term[], into: Float32Array): Float32Array {
  const read = terms.filter(({ weight }) => weight !== 0);
  for (let at = 0; at < into.length; at++) {
    let sum = 0;
    for (const { weight, values } of read) sum += weight * (values[at] ?? 0);
    into[at] = sum;
  }
  return into;
}

function requireLength(name: string, values: Float32Array, length: number): void {
  if (values.length !== length) throw new RangeError(`${name} has ${String(values.length)} elements, the sample ${String(length)}`);
}
