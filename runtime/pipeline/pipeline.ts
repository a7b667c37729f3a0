/** A model loaded on one rank: prompt in, float image out. */
import { SdxlError } from '../errors/index.js';
import { imageFromDecoded } from '../image/index.js';
import type { Backend, Component, Executor } from '../engine/index.js';
import { checkSize, decodeMesh, type Mesh } from '../parallel/index.js';
import { float32, Generator, type Tensor } from '../tensor/index.js';
import { bandInputs, floatOutput, joinBands } from './bands.js';
import { checkClipSkip, type ModelComponents } from './components.js';
import { conditioning, encodeNegative, encodePrompt, negativeTimeIds, positiveTimeIds, type Conditioning } from './conditioning.js';
import { denoise } from './denoise.js';
import type { PipelineObserver, Stage } from './events.js';
import type { Model } from './model.js';
import { requestOf, type ImageRequest, type JobRequest } from './request.js';
import { contextLength, encodeWeighted, weightedTokens } from './weighted-prompt.js';

export interface PipelineOptions {
  readonly model: Model;
  readonly components: ModelComponents;
  readonly backend: Backend;
  readonly mesh: Mesh;
  readonly rank: number;
  readonly observer: PipelineObserver;
  readonly signal?: AbortSignal;
}

export interface GenerateOptions {
  /** Its number in the job. */
  readonly image: number;
  readonly signal?: AbortSignal;
  /** Told of this image's events as well. */
  readonly observer?: PipelineObserver;
  /** Told of tensors on the way: `prompt_embeds`, `pooled_prompt_embeds`, `initial_latents`, `latents.0` after the first step, … */
  readonly capture?: (stage: string, value: Tensor<'f32'>) => void;
}

export interface GeneratedImage {
  /** `[3, height, width]` in [0, 1], equal on every rank. */
  readonly image: Tensor<'f32'>;
  /** `[1, c, height/f, width/f]` before decoding. */
  readonly latents: Tensor<'f32'>;
  readonly stages: Readonly<Record<Exclude<Stage, 'write'>, number>>;
}

type Executors = { readonly [Name in keyof ModelComponents]: Executor };

export class Pipeline {
  readonly #options: PipelineOptions;
  readonly #executors: Executors;

  private constructor(options: PipelineOptions, executors: Executors) {
    this.#options = options;
    this.#executors = executors;
  }

  /** Prepares (or finds) and loads the engine of every component. The backend stays the caller's to close. */
  static async load(options: PipelineOptions): Promise<Pipeline> {
    const { components } = options;
    const load = (component: Component): Promise<Executor> => loadEngine(component, options);
    return new Pipeline(options, {
      textEncoder: await load(components.textEncoder),
      textEncoder2: await load(components.textEncoder2),
      unet: await load(components.unet),
      vaeDecoder: await load(components.vaeDecoder),
    });
  }

  /**
   * Makes one image; `image` is its number in the job. Every rank of the gang calls it with the same request.
   * @throws SdxlError SIZE_INVALID, MESH_INVALID, IMAGE_NOT_FINITE, or what the backend or a peer failed with
   */
  async generate(request: ImageRequest, options: GenerateOptions): Promise<GeneratedImage> {
    const { model, mesh, rank } = this.#options;
    const { image, signal, capture } = options;
    const observer: PipelineObserver = (event) => {
      this.#options.observer(event);
      options.observer?.(event);
    };
    checkRequest(model, request, mesh);
    const guided = request.guidanceScale > 1;
    const stages = { encode: 0, denoise: 0, decode: 0 };
    const staged = async <T>(stage: keyof typeof stages, work: () => Promise<T>): Promise<T> => {
      observer({ type: 'stage-started', image, stage });
      const started = performance.now();
      const result = await work();
      stages[stage] = (performance.now() - started) / 1000;
      observer({ type: 'stage-ended', image, stage, seconds: stages[stage] });
      return result;
    };

    const conditions = await staged('encode', () => this.#encode(request, guided, signal));
    const schedule = model.scheduler(request.scheduler).setTimesteps(request.numInferenceSteps);
    const generator = new Generator(request.seed);
    const factor = model.vaeScaleFactor;
    const shape = [1, model.parts.unet.config.inChannels, request.height / factor, request.width / factor];
    const noise = generator.randn(shape);
    const initial = float32(
      shape,
      noise.data.map((value) => value * schedule.initNoiseSigma),
    );
    capture?.('prompt_embeds', lastRow(conditions.encoder_hidden_states));
    capture?.('pooled_prompt_embeds', lastRow(conditions.text_embeds));
    capture?.('initial_latents', initial);
    const latents = await staged('denoise', () =>
      denoise(initial, {
        unet: this.#executors.unet,
        mesh,
        patches: request.patches,
        rank,
        schedule,
        numInferenceSteps: request.numInferenceSteps,
        generator,
        conditioning: conditions,
        guidance: guided ? { scale: request.guidanceScale, rescale: request.guidanceRescale ?? 0 } : undefined,
        image,
        observer,
        signal,
        capture,
      }),
    );
    const pixels = await staged('decode', () => this.#decode(latents, signal));
    return { image: pixels, latents, stages };
  }

  /** Frees every engine. Idempotent. */
  async close(): Promise<void> {
    await Promise.all(Object.values(this.#executors).map((executor) => executor.close()));
  }

  async #encode(request: ImageRequest, guided: boolean, signal: AbortSignal | undefined): Promise<Conditioning> {
    const { model, mesh, rank, observer } = this.#options;
    const truncated =
      (what: string) =>
      (text: string): void => {
        observer({
          type: 'warning',
          message: `the ${what} is longer than the model's ${String(model.parts.textEncoder.tokenizer.maxLength)} tokens; promptSyntax Weighted reads all of it; without effect is: ${text}`,
        });
      };
    const weighted = request.promptSyntax === 'Weighted' ? weightedTokens(model, request) : undefined;
    const encoders = this.#executors;
    const embedding =
      weighted === undefined
        ? await encodePrompt(model, encoders, request, truncated('prompt'), signal)
        : await encodeWeighted(model, encoders, weighted.positive, { ...weighted, clipSkip: request.clipSkip ?? 0 }, signal);
    const positive = { embedding, timeIds: positiveTimeIds(request) };
    if (!guided) return conditioning([positive]);
    const negativeEmbedding =
      weighted === undefined
        ? await encodeNegative(model, encoders, request, embedding, truncated('negative prompt'), signal)
        : await encodeWeighted(model, encoders, weighted.negative, { ...weighted, clipSkip: 0 }, signal);
    const negative = { embedding: negativeEmbedding, timeIds: negativeTimeIds(request) };
    if (mesh.cfg === 1) return conditioning([negative, positive]);
    return conditioning([rank < mesh.patch ? negative : positive]);
  }

  async #decode(latents: Tensor<'f32'>, signal: AbortSignal | undefined): Promise<Tensor<'f32'>> {
    const { rank } = this.#options;
    const mesh = decodeMesh(this.#options.mesh);
    const { outputs } = await this.#executors.vaeDecoder.run(bandInputs('latents', latents, mesh, rank), signal);
    return imageFromDecoded(joinBands(floatOutput(outputs, 'image'), mesh));
  }
}

/** The last of a batch, which the prompt's branch is, as a batch of one. */
function lastRow({ shape, data }: Tensor<'f32'>): Tensor<'f32'> {
  const [batch = 1, ...row] = shape;
  return float32([1, ...row], data.slice((data.length / batch) * (batch - 1)));
}

async function loadEngine(component: Component, { backend, observer, signal }: PipelineOptions): Promise<Executor> {
  const engine = await backend.prepare(component, signal);
  const started = performance.now();
  const executor = await backend.load(engine, signal);
  const loadSeconds = (performance.now() - started) / 1000;
  observer({ type: 'engine', component: component.graph.name, cached: engine.cached, buildSeconds: engine.buildSeconds, loadSeconds });
  return executor;
}

/** {@link checkRequest} of every image of a job. */
export function checkJob(model: Model, job: JobRequest, mesh: Mesh): void {
  checkRequest(model, job.first, mesh);
  // Of the others what may differ from the first.
  job.prompts.slice(1).forEach((_, index) => {
    const request = requestOf(job, (index + 1) * job.imagesPerPrompt);
    checkSize(request.height, request.width, mesh, model.latentUnit, model.vaeScaleFactor);
    contextLength(model, request, `spec.prompts[${String(index + 1)}]`);
    if (request.numInferenceSteps !== job.first.numInferenceSteps)
      model.scheduler(request.scheduler).setTimesteps(request.numInferenceSteps);
  });
}

/** What the model and the mesh require of a request, checked before anything runs. */
export function checkRequest(model: Model, request: ImageRequest, mesh: Mesh): void {
  checkSize(request.height, request.width, mesh, model.latentUnit, model.vaeScaleFactor);
  if (mesh.cfg === 2 && request.guidanceScale <= 1) {
    throw new SdxlError('MESH_INVALID', `cfg degree 2 needs a guidance scale above 1, found ${String(request.guidanceScale)}`, {
      fields: { cfg: mesh.cfg, guidanceScale: request.guidanceScale },
    });
  }
  checkClipSkip(model, request.clipSkip ?? 0);
  // Reads the prompts where they have a syntax.
  contextLength(model, request);
  // Refused early where the sampler does not have such options or that many steps.
  model.scheduler(request.scheduler).setTimesteps(request.numInferenceSteps);
}
