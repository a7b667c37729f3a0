/**
 * Options that stand for fields of a job, and the job they make. There is one contract: options become the same SdxlJob a file holds and
 * pass the same validator, whose findings are told in the options' names.
 */
import { Option, type Command } from 'commander';
import { apiVersion, formatJobProblem, kind, validateSdxlJob, type JobProblem, type SdxlJob } from '../../crds/index.js';
import { SdxlError } from '../errors/index.js';
import { localJob, type Environment, type LocalJob } from '../launch/index.js';
import { patchModes } from '../parallel/index.js';
import { parseObjectUri } from '../storage/index.js';
import { field, integer, integerIn, integerPair, once, type Pair } from './numbers.js';

/** One `--lora`. */
interface LoraOption {
  readonly path: string;
  readonly weight?: string;
}

export interface JobOptions {
  readonly model?: string;
  readonly variant?: string;
  readonly tokenizer?: string;
  readonly configFrom?: string;
  readonly lora?: readonly LoraOption[];
  readonly size?: number;
  readonly height?: number;
  readonly width?: number;
  readonly prompt?: string;
  /** A file. */
  readonly prompts?: string;
  readonly prompt2?: string;
  readonly negativePrompt?: string;
  readonly negativePrompt2?: string;
  readonly promptSyntax?: string;
  readonly clipSkip?: number;
  readonly originalSize?: Pair<'height' | 'width'>;
  readonly cropsCoordsTopLeft?: Pair<'top' | 'left'>;
  readonly targetSize?: Pair<'height' | 'width'>;
  readonly negativeOriginalSize?: Pair<'height' | 'width'>;
  readonly negativeCropsCoordsTopLeft?: Pair<'top' | 'left'>;
  readonly negativeTargetSize?: Pair<'height' | 'width'>;
  readonly seed?: number;
  readonly numInferenceSteps?: number;
  readonly guidanceScale?: string;
  readonly guidanceRescale?: string;
  readonly scheduler?: string;
  readonly schedulerOption?: Readonly<Record<string, string | number | boolean>>;
  readonly numImages?: number;
  readonly output?: string;
  readonly outputEndpoint?: string;
  readonly ranks?: number;
  readonly mesh?: string;
  readonly dataDegree?: number;
  readonly cfgDegree?: number;
  readonly patchDegree?: number;
  readonly mode?: string;
  readonly warmupSteps?: number;
  readonly backend?: string;
}

/** Fields of the job, which a file gives already. */
const jobOptionNames = [
  'model',
  'variant',
  'tokenizer',
  'configFrom',
  'lora',
  'size',
  'height',
  'width',
  'prompt',
  'prompts',
  'prompt2',
  'negativePrompt',
  'negativePrompt2',
  'promptSyntax',
  'clipSkip',
  'originalSize',
  'cropsCoordsTopLeft',
  'targetSize',
  'negativeOriginalSize',
  'negativeCropsCoordsTopLeft',
  'negativeTargetSize',
  'seed',
  'numInferenceSteps',
  'guidanceScale',
  'schedulerOption',
  'scheduler',
  'guidanceRescale',
  'numImages',
  'output',
  'outputEndpoint',
  'ranks',
  'mesh',
  'dataDegree',
  'cfgDegree',
  'patchDegree',
  'mode',
  'warmupSteps',
  'backend',
] as const satisfies readonly (keyof JobOptions)[];

/** The option that sets a field, by the field's path. */
const optionOf: Readonly<Record<string, string>> = {
  'spec.model.path': '--model',
  'spec.model.variant': '--variant',
  'spec.model.tokenizer': '--tokenizer',
  'spec.model.configFrom': '--config-from',
  'spec.model.loras': '--lora',
  'spec.height': '--height',
  'spec.width': '--width',
  'spec.prompt': '--prompt',
  'spec.prompt2': '--prompt-2',
  'spec.negativePrompt': '--negative-prompt',
  'spec.negativePrompt2': '--negative-prompt-2',
  'spec.promptSyntax': '--prompt-syntax',
  'spec.clipSkip': '--clip-skip',
  'spec.originalSize': '--original-size',
  'spec.cropsCoordsTopLeft': '--crops-coords-top-left',
  'spec.targetSize': '--target-size',
  'spec.negativeOriginalSize': '--negative-original-size',
  'spec.negativeCropsCoordsTopLeft': '--negative-crops-coords-top-left',
  'spec.negativeTargetSize': '--negative-target-size',
  'spec.seed': '--seed',
  'spec.numInferenceSteps': '--num-inference-steps',
  'spec.guidanceScale': '--guidance-scale',
  'spec.guidanceRescale': '--guidance-rescale',
  'spec.scheduler': '--scheduler',
  'spec.numImages': '--num-images',
  'spec.output.path': '--output',
  'spec.output.s3.bucket': '--output',
  'spec.output.s3.prefix': '--output',
  'spec.output.s3.endpoint': '--output-endpoint',
  'spec.parallelism': '-n',
  'spec.parallelism.ranks': '-n',
  'spec.parallelism.mesh': '--mesh',
  'spec.parallelism.dataDegree': '--data-degree',
  'spec.parallelism.cfgDegree': '--cfg-degree',
  'spec.parallelism.patchDegree': '--patch-degree',
  'spec.parallelism.mode': '--mode',
  'spec.parallelism.warmupSteps': '--warmup-steps',
  'spec.backend': '--backend',
};

export function addModelOption(command: Command): Command {
  return command
    .option('--model <path>', 'an SDXL model: a directory in diffusers layout, or a .safetensors checkpoint in the original layout')
    .option('--variant <name>', 'weight files of the directory to read, such as fp16')
    .option('--tokenizer <dir>', 'for a checkpoint: a directory with tokenizer/ and tokenizer_2/')
    .option('--config-from <dir>', "for a checkpoint: a diffusers directory whose configs it has (default: SDXL base's)")
    .option('--lora <file[:weight]>', 'LoRA adapter to merge, several times for several (default weight: 1.0)', loras);
}

export function addSizeOptions(command: Command): Command {
  return command
    .option('--size <pixels>', 'height and width of the image (default: 1024)', integer)
    .option('--height <pixels>', 'height, where it differs', integer)
    .option('--width <pixels>', 'width, where it differs', integer);
}

export function addMeshOptions(command: Command): Command {
  return command
    .option('-n, --ranks <count>', 'ranks in all: data-degree x cfg-degree x patch-degree', integerIn(1, 64))
    .option('--data-degree <count>', 'images made at once, each on ranks of its own (default: 1)', integer)
    .option('--cfg-degree <1|2>', '2: guidance branches on different ranks (default: 1)', integer)
    .option('--patch-degree <count>', 'stripes of an image (default: ranks / data-degree / cfg-degree)', integer);
}

/** Of commands that make images, or build for them. */
export function addMeshKindOption(command: Command): Command {
  return command.option('--mesh <kind>', 'Auto: choose the degrees for -n ranks, see sdxl inspect --mesh (default: Explicit)');
}

export function addModeOptions(command: Command): Command {
  return command
    .option('--mode <name>', `when stripes learn of each other: ${patchModes.join(', ')} (default: Synchronous)`)
    .option('--warmup-steps <count>', 'steps before displaced ones, one less than are synchronous (default: 4)', integer);
}

export function addImageOptions(command: Command): Command {
  return command
    .option('--prompt <text>', 'what the image shows', once)
    .option('--prompt-2 <text>', 'what the second text encoder is told instead', once)
    .option('--negative-prompt <text>', 'what it must not show', once)
    .option('--negative-prompt-2 <text>', 'what the second text encoder is told instead of --negative-prompt', once)
    .option('--prompt-syntax <name>', 'Plain text, or Weighted: (text:1.3), [text], BREAK and any length (default: Plain)')
    .option('--clip-skip <count>', 'layers of the text encoders to leave out beyond the last (default: 0)', integer)
    .option('--original-size <height,width>', "size that a training picture is said to have had (default: the image's)", size)
    .option('--crops-coords-top-left <top,left>', 'where it is said to have been cropped (default: 0,0)', crop)
    .option('--target-size <height,width>', "size that it is said to have been scaled to (default: the image's)", size)
    .option('--negative-original-size <height,width>', 'the same of what images must not look like, with --negative-target-size', size)
    .option('--negative-crops-coords-top-left <top,left>', 'the same, with both negative sizes (default: 0,0)', crop)
    .option('--negative-target-size <height,width>', 'the same, with --negative-original-size', size)
    .option('--seed <number>', 'seed of the noise, equal to that of a torch CPU generator (default: 0)', integer)
    .option('--num-inference-steps <count>', 'denoising steps (default: 50)', integer)
    .option('--guidance-scale <number>', 'weight of the prompt; up to 1 guidance is off (default: 5.0)')
    .option('--guidance-rescale <number>', 'how far guidance is scaled back, from 0 to 1 (default: 0.0)')
    .option('--scheduler <name>', "sampler, such as DPMSolverMultistep (default: Auto, the model's own)")
    .option('--scheduler-option <name=value>', 'field of scheduler_config.json, such as timestepSpacing=Trailing; may be repeated', field);
}

export function addBackendOption(command: Command): Command {
  return command.addOption(new Option('--backend <name>', 'what computes').choices(['Auto', 'Onnx', 'Cuda']).default('Auto'));
}

const size = integerPair('height', 'width');
const crop = integerPair('top', 'left');

/** Adds one `file[:weight]`; what follows the last colon is a weight if it is a number, or if a file's name ends before it. */
function loras(text: string, previous: readonly LoraOption[] = []): readonly LoraOption[] {
  const [, path = text, weight] = /^(.+):(-?[\d.]+)$/u.exec(text) ?? /^(.+\.safetensors):([^/:]*)$/u.exec(text) ?? [];
  return [...previous, { path, ...(weight === undefined ? {} : { weight }) }];
}

/**
 * The job that the options describe, as this machine runs it; `prompts` are those of the file it names.
 * @throws SdxlError JOB_INVALID or MESH_INVALID naming the options.
 */
export function jobFromOptions(options: JobOptions, environment: Environment, prompts?: readonly unknown[]): LocalJob {
  return localJob(validJobFromOptions(options, environment, prompts));
}

/** The job that the options describe, valid; a mesh that is to be chosen is not chosen yet. */
export function validJobFromOptions(options: JobOptions, environment: Environment, prompts?: readonly unknown[]): SdxlJob {
  const degrees = mesh(options, environment);
  const spec = {
    model: {
      path: options.model,
      variant: options.variant,
      tokenizer: options.tokenizer,
      configFrom: options.configFrom,
      loras: options.lora,
    },
    prompt: options.prompt,
    prompts,
    prompt2: options.prompt2,
    negativePrompt: options.negativePrompt,
    negativePrompt2: options.negativePrompt2,
    promptSyntax: options.promptSyntax,
    clipSkip: options.clipSkip,
    originalSize: options.originalSize,
    cropsCoordsTopLeft: options.cropsCoordsTopLeft,
    targetSize: options.targetSize,
    negativeOriginalSize: options.negativeOriginalSize,
    negativeCropsCoordsTopLeft: options.negativeCropsCoordsTopLeft,
    negativeTargetSize: options.negativeTargetSize,
    height: options.height ?? options.size,
    width: options.width ?? options.size,
    seed: options.seed,
    numInferenceSteps: options.numInferenceSteps,
    guidanceScale: options.guidanceScale,
    guidanceRescale: options.guidanceRescale,
    scheduler: options.scheduler,
    schedulerOptions: withDecimals(options.schedulerOption),
    numImages: options.numImages,
    backend: options.backend,
    parallelism: { ...degrees, mode: options.mode, warmupSteps: options.warmupSteps },
    output: outputOf(options),
  };
  const given = withoutUndefined({ apiVersion, kind, metadata: { name: 'command-line' }, spec });
  const validation = validateSdxlJob(given);
  if (validation.ok) return validation.job;
  throw jobInvalid(validation.errors.map((problem) => named(problem, options)));
}

/** A file, or a place in a bucket: `s3://bucket/prefix/name.png`, and where the last part is no PNG's name, all of it is the prefix. */
function outputOf({ output, outputEndpoint }: JobOptions): object {
  const object = output === undefined ? undefined : parseObjectUri(output);
  if (object === undefined) {
    if (outputEndpoint === undefined) return { path: output };
    throw new SdxlError('USAGE', '--output-endpoint is where object storage is: give --output s3://bucket/prefix with it', {
      fields: { option: '--output-endpoint' },
    });
  }
  const [, prefix = '', path] = /^(?:(.*)\/)?([^/]+\.png)$/u.exec(object.key) ?? [undefined, object.key];
  return { path, s3: { bucket: object.bucket, prefix, endpoint: outputEndpoint } };
}

/** `own` are options that mean something else to this command. @throws SdxlError USAGE where an option says what the job's file says already */
export function refuseJobOptions(command: Command, file: string, own: readonly (keyof JobOptions)[] = []): void {
  const both = jobOptionNames.find((name) => !own.includes(name) && command.getOptionValueSource(name) === 'cli');
  if (both === undefined) return;
  const flag = command.options.find((option) => option.attributeName() === both)?.long ?? both;
  throw new SdxlError('USAGE', `${flag} cannot be given with -f: the job's file says it`, { fields: { option: flag, file } });
}

/** Decimals are texts in a job, whole ones too. */
function withDecimals(options: JobOptions['schedulerOption']): JobOptions['schedulerOption'] {
  return typeof options?.['eta'] === 'number' ? { ...options, eta: String(options['eta']) } : options;
}

/** One error for all problems, each in a line of its own where there are several. */
export function jobInvalid(problems: readonly JobProblem[], file?: string): SdxlError {
  // One option may set two fields.
  const lines = [...new Set(problems.map(formatJobProblem))];
  const where = file === undefined ? '' : `${file}: `;
  const message = lines.length === 1 ? `${where}${lines[0] ?? ''}` : `${where}${String(lines.length)} problems\n  ${lines.join('\n  ')}`;
  return new SdxlError('JOB_INVALID', message, { fields: { problems: lines, ...(file === undefined ? {} : { file }) } });
}

interface Degrees {
  readonly dataDegree: number;
  readonly cfgDegree: number;
  readonly patchDegree: number | undefined;
}

type MeshFields = Partial<Degrees> & { readonly mesh?: string; readonly ranks?: number | undefined };

function mesh(options: JobOptions, { gang }: Environment): MeshFields {
  const { dataDegree = 1, cfgDegree = 1, patchDegree, ranks = gang?.worldSize } = options;
  // Degrees given as well are the validator's to refuse.
  if (options.mesh === 'Auto')
    return { mesh: options.mesh, ranks, dataDegree, cfgDegree, ...(patchDegree === undefined ? {} : { patchDegree }) };
  if (options.mesh !== undefined && options.mesh !== 'Explicit') return { mesh: options.mesh };
  // The validator says what is wrong with these; nothing follows from them.
  if (dataDegree < 1 || cfgDegree < 1 || (patchDegree ?? 1) < 1) return { dataDegree, cfgDegree, patchDegree };
  const others = dataDegree * cfgDegree;
  const degree = patchDegree ?? Math.max(1, Math.floor((ranks ?? others) / others));
  if (ranks !== undefined && others * degree !== ranks) {
    const data = options.dataDegree === undefined ? '' : `--data-degree ${String(dataDegree)} × `;
    const made = `${data}--cfg-degree ${String(cfgDegree)} × --patch-degree ${String(degree)} = ${String(others * degree)}`;
    throw new SdxlError('MESH_INVALID', `${made} ranks, but -n is ${String(ranks)}: their product must be the number of ranks`, {
      fields: { ranks, dataDegree, cfgDegree, patchDegree: degree },
    });
  }
  return { dataDegree, cfgDegree, patchDegree: degree };
}

function named(problem: JobProblem, { size, height, width, prompts }: JobOptions): JobProblem {
  if (problem.path === 'spec.model') {
    const message = problem.message.startsWith('exactly one')
      ? 'is required: the directory of a model in diffusers layout, or a .safetensors checkpoint'
      : problem.message;
    return { ...problem, path: '--model', message };
  }
  const [, index, rest = ''] = /^spec\.prompts\[(\d+)\](.*)$/u.exec(problem.path) ?? [];
  if (index !== undefined || problem.path === 'spec.prompts') {
    return {
      ...problem,
      path: index === undefined ? '--prompts' : `--prompts ${prompts ?? ''}, prompt ${String(Number(index) + 1)}${rest}`,
    };
  }
  const fromSize =
    size !== undefined &&
    ((problem.path === 'spec.height' && height === undefined) || (problem.path === 'spec.width' && width === undefined));
  const option = fromSize ? '--size' : optionOf[problem.path.replace(/(?:\[\d+\].*|(?<=Size|TopLeft)\.\w+)$/u, '')];
  return { ...problem, path: option ?? problem.path.replace(/^spec\.schedulerOptions\./u, '--scheduler-option ') };
}

function withoutUndefined(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(withoutUndefined);
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, child]) => child !== undefined)
      .map(([key, child]) => [key, withoutUndefined(child)]),
  );
}
