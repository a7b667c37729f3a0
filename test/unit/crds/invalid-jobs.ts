/**
 * Jobs that nobody may accept, as data: the validator refuses each here, and an API server with the CRD must refuse each row whose
 * `refusedBy` is not `commandLine` (that row breaks a rule of strict field validation, which servers only enforce on request).
 */
export interface InvalidJob {
  readonly name: string;
  readonly job: unknown;
  /** The field the problem names; empty for the object itself, where a CRD's rules about metadata report. */
  readonly path: string;
  /** Part of that problem's message on the command line; a server says the same of a `rule`. */
  readonly message: string;
  readonly refusedBy: 'schema' | 'rule' | 'server' | 'commandLine';
}

type Fields = Readonly<Record<string, unknown>>;

/** A valid job, with fields of its spec and metadata replaced; undefined removes one. */
export function jobWith(spec: Fields, metadata: Fields = {}): Record<string, unknown> {
  const job = {
    apiVersion: 'sdxl.io/v1alpha1',
    kind: 'SdxlJob',
    metadata: { name: 'flowers-rabbit', ...metadata },
    spec: { model: { path: 'models/tiny-sdxl' }, prompt: 'flowers, rabbit', ...spec },
  };
  return JSON.parse(JSON.stringify(job)) as Record<string, unknown>;
}

function schema(name: string, spec: Fields, path: string, message: string): InvalidJob {
  return { name, job: jobWith(spec), path: path === '' ? 'spec' : `spec.${path}`, message, refusedBy: 'schema' };
}

function rule(name: string, spec: Fields, path: string, message: string): InvalidJob {
  return { ...schema(name, spec, path, message), refusedBy: 'rule' };
}

function several(
  name: string,
  prompts: readonly Fields[],
  spec: Fields,
  path: string,
  message: string,
  refusedBy: 'rule' | 'schema' = 'rule',
): InvalidJob {
  return { ...schema(`several prompts: ${name}`, { prompt: undefined, prompts, ...spec }, path, message), refusedBy };
}

function unknown(name: string, spec: Fields, path: string, message: string): InvalidJob {
  return { ...schema(name, spec, path, message), refusedBy: 'commandLine' };
}

function metadata(name: string, fields: Fields, path: string, message: string, refusedBy: InvalidJob['refusedBy'] = 'server'): InvalidJob {
  return { name, job: jobWith({}, fields), path, message, refusedBy };
}

function whole(name: string, fields: Fields, path: string, message: string): InvalidJob {
  return {
    name,
    job: JSON.parse(JSON.stringify({ ...jobWith({}), ...fields })) as unknown,
    path,
    message,
    refusedBy: path === 'spec' ? 'schema' : 'server',
  };
}

const largestSeed = Number.MAX_SAFE_INTEGER;

export const invalidJobs: readonly InvalidJob[] = [
  // The object itself
  { name: 'no object but a list', job: [], path: '', message: 'must be a map', refusedBy: 'server' },
  { name: 'no object but a text', job: 7, path: '', message: '7 must be a map', refusedBy: 'server' },
  whole('no apiVersion', { apiVersion: undefined }, 'apiVersion', 'is required, it must be sdxl.io/v1alpha1'),
  whole('another version', { apiVersion: 'sdxl.io/v1' }, 'apiVersion', '"sdxl.io/v1" is not supported, it must be sdxl.io/v1alpha1'),
  whole('another group', { apiVersion: 'batch/v1' }, 'apiVersion', '"batch/v1" is not supported'),
  whole('no kind', { kind: undefined }, 'kind', 'is required, it must be SdxlJob'),
  whole('another kind', { kind: 'SDXLJob' }, 'kind', '"SDXLJob" is not supported, it must be SdxlJob (did you mean SdxlJob?)'),
  whole('no spec', { spec: undefined }, 'spec', 'is required'),
  whole('an empty spec', { spec: {} }, 'spec.model', 'is required'),
  whole('spec null', { spec: null }, 'spec', 'is required'),
  whole('spec a list', { spec: [] }, 'spec', 'a list of 0 (a list) must be a map of fields'),

  // Metadata
  metadata('no name', { name: undefined }, 'metadata.name', 'is required'),
  metadata('an empty name', { name: '' }, 'metadata.name', 'is empty'),
  metadata('a name in capitals', { name: 'Flowers' }, 'metadata.name', '"Flowers" must hold lower-case letters'),
  metadata('a name with an underscore', { name: 'flowers_rabbit' }, 'metadata.name', '"flowers_rabbit" must hold lower-case letters'),
  metadata('a name that ends in a dash', { name: 'flowers-' }, 'metadata.name', '"flowers-" must hold lower-case letters'),
  metadata('a name that is a number', { name: 233 }, 'metadata.name', '233 (a number) must be a string: write it in quotes'),
  metadata('a name of 41 characters', { name: 'a'.repeat(41) }, '', 'has 41 characters, at most 40 are allowed', 'rule'),
  metadata('a name with a dot', { name: 'flowers.rabbit' }, '', 'may hold no "."', 'rule'),
  metadata('a name that begins with a digit', { name: '4k-flowers' }, '', 'must begin with a letter', 'rule'),
  metadata('a generated name of 41 characters', { name: undefined, generateName: 'a'.repeat(36) }, '', 'has 41 characters', 'rule'),
  metadata('a namespace with a dot', { namespace: 'a.b' }, 'metadata.namespace', '"a.b" must hold lower-case letters, digits and "-" only'),
  metadata('a label with a space', { labels: { app: 'a b' } }, 'metadata.labels.app', '"a b" must hold letters'),
  metadata('a label that is a number', { labels: { app: 1 } }, 'metadata.labels.app', '1 (a number) must be a string'),
  metadata('a label too long', { labels: { app: 'a'.repeat(64) } }, 'metadata.labels.app', 'has 64 characters, at most 63'),
  metadata('a label with an invalid key', { labels: { 'a b': 'c' } }, 'metadata.labels["a b"]', 'is not a valid key'),
  metadata('an annotation with an invalid key', { annotations: { '-a': 'c' } }, 'metadata.annotations["-a"]', 'is not a valid key'),
  metadata('an annotation that is a boolean', { annotations: { a: true } }, 'metadata.annotations.a', 'true (a boolean) must be a string'),
  metadata(
    'annotations too large',
    { annotations: { a: 'b'.repeat(262_144) } },
    'metadata.annotations',
    'have 262145 bytes, at most 262144',
  ),
  metadata('a misspelt field of metadata', { label: {} }, 'metadata.label', 'did you mean labels?', 'commandLine'),

  // Model and prompt
  schema('no model', { model: undefined }, 'model', 'is required: where the weights come from'),
  rule('half precision on the processor', { backend: 'Onnx', dtype: 'Float16' }, 'dtype', 'backend Onnx computes in Float32'),
  rule('single precision on a GPU', { backend: 'Cuda', dtype: 'Float32' }, 'dtype', 'backend Cuda computes in Float16'),
  rule('a model from nowhere', { model: {} }, 'model', 'exactly one of path, claim, image, huggingFace and s3 must be given'),
  rule('two models', { model: { path: 'a', claim: { name: 'b' } } }, 'model', 'exactly one of path, claim, image, huggingFace and s3'),
  rule(
    'a model from a bucket and from the Hub',
    { model: { s3: { bucket: 'models' }, huggingFace: { repo: 'a/b' } }, cache: { claim: { name: 'c' } } },
    'model',
    'exactly one of path, claim, image, huggingFace and s3',
  ),
  schema('a claim without a name', { model: { claim: {} } }, 'model.claim.name', 'is required: name of the PersistentVolumeClaim'),
  schema('a claim in capitals', { model: { claim: { name: 'A' } } }, 'model.claim.name', '"A" must hold lower-case letters'),
  schema('an absolute path in a claim', { model: { claim: { name: 'a', path: '/b' } } }, 'model.claim.path', 'must be a relative path'),
  schema(
    'an image reference with a space',
    { model: { image: { reference: 'a b' } } },
    'model.image.reference',
    'must be the reference of an image',
  ),
  schema(
    'a pull policy of nobody',
    { model: { image: { reference: 'a', pullPolicy: 'Sometimes' } } },
    'model.image.pullPolicy',
    'must be one of IfNotPresent',
  ),
  schema(
    'a repository without an owner',
    { model: { huggingFace: { repo: 'sdxl' } } },
    'model.huggingFace.repo',
    'must have the form owner/name',
  ),
  schema(
    'an endpoint of another protocol',
    { model: { huggingFace: { repo: 'a/b', endpoint: 'ftp://x' } } },
    'model.huggingFace.endpoint',
    'must be an http or https address',
  ),
  rule('a fetched model without a cache', { model: { huggingFace: { repo: 'a/b' } } }, 'cache', 'needs cache.claim'),
  rule('a model from a bucket without a cache', { model: { s3: { bucket: 'models' } } }, 'cache', 'model.s3 needs cache.claim'),
  schema('a bucket without a name', { model: { s3: {} } }, 'model.s3.bucket', 'is required: name of the bucket'),
  ...['s3://models', 'models/sdxl', 'Models', 'models-'].map((bucket) =>
    schema(
      `a bucket called ${bucket}`,
      { model: { s3: { bucket } } },
      'model.s3.bucket',
      'must be the name of a bucket alone, without "s3://" and without "/" (what follows the bucket is its prefix)',
    ),
  ),
  schema(
    'a bucket with a short name',
    { model: { s3: { bucket: 'ab' } } },
    'model.s3.bucket',
    '"ab" is too short, it must have at least 3 characters',
  ),
  schema(
    'a prefix with a slash before it',
    { model: { s3: { bucket: 'abc', prefix: '/a' } } },
    'model.s3.prefix',
    'must be a relative path',
  ),
  schema(
    'an endpoint without http',
    { model: { s3: { bucket: 'abc', endpoint: 's3.example.com' } } },
    'model.s3.endpoint',
    '"s3.example.com" must be an http or https address without spaces',
  ),
  schema(
    'credentials without a name',
    { model: { s3: { bucket: 'abc', credentialsSecret: {} } } },
    'model.s3.credentialsSecret.name',
    'is required',
  ),
  schema(
    'a region with a dot',
    { model: { s3: { bucket: 'abc', region: 'eu.1' } } },
    'model.s3.region',
    '"eu.1" must hold lower-case letters',
  ),
  rule('a single file without tokenizers', { model: { path: 'a.safetensors' } }, 'model.tokenizer', 'holds no tokenizers'),
  rule('one of a claim', { model: { claim: { name: 'a', path: 'b.safetensors' } } }, 'model.tokenizer', 'holds no tokenizers'),
  rule(
    'tokenizers for a directory',
    { model: { path: 'a', tokenizer: 'b' } },
    'model',
    'tokenizer and configFrom are for single-file models',
  ),
  rule(
    'configs for a directory',
    { model: { path: 'a', configFrom: 'b' } },
    'model',
    'tokenizer and configFrom are for single-file models',
  ),
  rule('a variant of a file', { model: { path: 'a.safetensors', tokenizer: 'b', variant: 'fp16' } }, 'model.variant', 'is for directories'),
  schema('a variant that is a path', { model: { path: 'a', variant: '../x' } }, 'model.variant', 'must hold letters, digits'),
  schema('a variant without a name', { model: { path: 'a', variant: '' } }, 'model.variant', 'is empty'),
  schema('a LoRA that is a text', { model: { path: 'a', loras: ['b.safetensors'] } }, 'model.loras[0]', 'must be a map of fields'),
  schema('a LoRA without a path', { model: { path: 'a', loras: [{}] } }, 'model.loras[0].path', 'is required'),
  schema(
    'a LoRA of another format',
    { model: { path: 'a', loras: [{ path: 'b.pt' }] } },
    'model.loras[0].path',
    'must end in .safetensors',
  ),
  schema(
    'a LoRA whose weight is a number',
    { model: { path: 'a', loras: [{ path: 'b.safetensors', weight: 0.8 }] } },
    'model.loras[0].weight',
    '0.8 (a number) must be a string',
  ),
  schema(
    'a LoRA whose weight is a word',
    { model: { path: 'a', loras: [{ path: 'b.safetensors', weight: 'much' }] } },
    'model.loras[0].weight',
    'must be a decimal from -99.9999',
  ),
  schema(
    'seventeen LoRAs',
    { model: { path: 'a', loras: Array.from({ length: 17 }, () => ({ path: 'b.safetensors' })) } },
    'model.loras',
    'at most 16',
  ),
  schema('an empty model path', { model: { path: '' } }, 'model.path', 'is empty'),
  schema('a model path with a line break', { model: { path: 'a\nb' } }, 'model.path', '"a\\nb" must be a path without line breaks'),
  schema('a model that is a text', { model: 'models/tiny-sdxl' }, 'model', 'must be a map of fields'),
  schema('a model path too long', { model: { path: 'a'.repeat(4097) } }, 'model.path', 'has 4097 characters, at most 4096'),
  schema('a prompt too long', { prompt: 'a'.repeat(4097) }, 'prompt', 'has 4097 characters, at most 4096 are allowed'),
  schema('a prompt that is a list', { prompt: ['flowers'] }, 'prompt', 'a list of 1 (a list) must be a string'),
  rule('a prompt null', { prompt: null }, 'prompt', 'exactly one of prompt and prompts must be given'),
  rule('prompt and prompts', { prompts: [{ prompt: 'a' }] }, 'prompt', 'exactly one of prompt and prompts must be given'),
  rule('neither', { prompt: undefined }, 'prompt', 'exactly one of prompt and prompts must be given'),
  rule('prompts that are none', { prompt: undefined, prompts: [] }, 'prompt', 'exactly one of prompt and prompts must be given'),
  several('one without a text', [{ seed: 1 }], {}, 'prompts[0].prompt', 'is required', 'schema'),
  several('a seed below zero', [{ prompt: 'a', seed: -1 }], {}, 'prompts[0].seed', '-1 is out of range', 'schema'),
  several('a width between', [{ prompt: 'a', width: 100 }], {}, 'prompts[0].width', '100 is not a multiple of 8', 'schema'),
  several(
    'a height that cannot be split',
    [{ prompt: 'a' }, { prompt: 'b', height: 96 }],
    { parallelism: { patchDegree: 2 } },
    'prompts',
    'every height of prompts must be a multiple of 32 x patchDegree = 64',
  ),
  several(
    'a height that two cannot decode',
    [{ prompt: 'a' }, { prompt: 'b', height: 104 }],
    { parallelism: { cfgDegree: 2 } },
    'prompts',
    'every height of prompts must be a multiple of 16 with cfgDegree 2',
  ),
  several(
    'a negative one without guidance',
    [{ prompt: 'a', negativePrompt: 'b' }],
    { guidanceScale: '1.0' },
    'prompts',
    'has no effect with',
  ),
  several('a second negative one alone', [{ prompt: 'a', negativePrompt2: 'b' }], {}, 'prompts', 'needs a negativePrompt'),
  several('no steps', [{ prompt: 'a', numInferenceSteps: 0 }], {}, 'prompts[0].numInferenceSteps', '0 is out of range', 'schema'),
  several(
    'a guidance scale that is no text',
    [{ prompt: 'a', guidanceScale: 7.5 }],
    {},
    'prompts[0].guidanceScale',
    'must be a string',
    'schema',
  ),
  several(
    'guidance off for one',
    [{ prompt: 'a' }, { prompt: 'b', guidanceScale: '1.0' }],
    {},
    'prompts',
    'turns guidance on for all prompts',
  ),
  several(
    'guidance on for one',
    [{ prompt: 'a', guidanceScale: '7.5' }],
    { guidanceScale: '1.0' },
    'prompts',
    'turns guidance off for all prompts',
  ),
  several('seeds that go too far', [{ prompt: 'a', seed: largestSeed }], { numImages: 2 }, 'prompts', 'every seed of prompts'),
  several(
    'too many images',
    [{ prompt: 'a' }, { prompt: 'b' }],
    { numImages: 5001 },
    'prompts',
    '2 prompts x numImages 5001 = 10002 images',
  ),
  several(
    'more replicas than images',
    [{ prompt: 'a' }, { prompt: 'b' }],
    { parallelism: { dataDegree: 3 } },
    'parallelism.dataDegree',
    'dataDegree 3',
  ),
  schema('an empty second prompt', { prompt2: '' }, 'prompt2', 'is empty'),
  schema('a second prompt too long', { prompt2: 'a'.repeat(4097) }, 'prompt2', 'has 4097 characters'),
  schema('an empty second negative prompt', { negativePrompt: 'a', negativePrompt2: '' }, 'negativePrompt2', 'is empty'),
  schema('a syntax of nobody', { promptSyntax: 'A1111' }, 'promptSyntax', 'must be one of Plain, Weighted'),
  schema('more layers skipped than there are', { clipSkip: 12 }, 'clipSkip', '12 is out of range, it must be from 0 to 11'),
  schema('layers added', { clipSkip: -1 }, 'clipSkip', '-1 is out of range, it must be from 0 to 11'),
  schema('a size of one number', { originalSize: { height: 512 } }, 'originalSize.width', 'is required'),
  schema(
    'a size without extent',
    { targetSize: { height: 0, width: 512 } },
    'targetSize.height',
    '0 is out of range, it must be from 1 to 16384',
  ),
  schema(
    'a crop beyond the picture',
    { cropsCoordsTopLeft: { top: -8, left: 0 } },
    'cropsCoordsTopLeft.top',
    '-8 is out of range, it must be from 0 to 16384',
  ),
  schema('a negative prompt too long', { negativePrompt: 'a'.repeat(4097) }, 'negativePrompt', 'has 4097 characters'),

  // Sizes and counts
  schema('a height of no 8', { height: 1020 }, 'height', '1020 is not a multiple of 8, the nearest are 1016 and 1024'),
  schema('a width of no 8', { width: 100 }, 'width', '100 is not a multiple of 8, the nearest are 96 and 104'),
  schema('a height too small', { height: 32 }, 'height', '32 is out of range, it must be from 64 to 4096 and a multiple of 8'),
  schema('a width too large', { width: 8192 }, 'width', '8192 is out of range, it must be from 64 to 4096'),
  schema('a height below zero', { height: -64 }, 'height', '-64 is out of range'),
  schema('a width with a fraction', { width: 512.5 }, 'width', '512.5 (a number) must be an integer from 64 to 4096'),
  schema('a height in quotes', { height: '1024' }, 'height', '"1024" (a string) must be an integer: write it without quotes'),
  schema('no images', { numImages: 0 }, 'numImages', '0 is out of range, it must be from 1 to 10000'),
  schema('too many images', { numImages: 10_001 }, 'numImages', '10001 is out of range'),
  schema('a seed below zero', { seed: -1 }, 'seed', '-1 is out of range, it must be from 0 to 9007199254740991'),
  schema('a seed beyond 2^53, which is read rounded', { seed: 2 ** 53 }, 'seed', 'a number above 9007199254740991 is out of range'),
  schema('no steps', { numInferenceSteps: 0 }, 'numInferenceSteps', '0 is out of range, it must be from 1 to 1000'),
  schema('too many steps', { numInferenceSteps: 1001 }, 'numInferenceSteps', '1001 is out of range'),
  schema('a half step', { numInferenceSteps: 2.5 }, 'numInferenceSteps', '2.5 (a number) must be an integer'),

  // Guidance, scheduler, backend
  schema('a guidance scale that is a number', { guidanceScale: 7.5 }, 'guidanceScale', 'write it in quotes, for example "5.0"'),
  schema('a guidance scale below zero', { guidanceScale: '-1' }, 'guidanceScale', '"-1" must be a decimal from 0 to 99.9999'),
  schema('a guidance scale with an exponent', { guidanceScale: '1e3' }, 'guidanceScale', '"1e3" must be a decimal from 0 to 99.9999'),
  schema('a guidance scale of words', { guidanceScale: 'high' }, 'guidanceScale', '"high" must be a decimal from 0 to 99.9999'),
  schema('a guidance scale too large', { guidanceScale: '100' }, 'guidanceScale', '"100" must be a decimal from 0 to 99.9999'),
  schema('an empty guidance scale', { guidanceScale: '' }, 'guidanceScale', '"" must be a decimal from 0 to 99.9999'),
  schema('a guidance scale too long', { guidanceScale: '1.00000000' }, 'guidanceScale', 'has 10 characters, at most 7'),
  schema('an unknown scheduler', { scheduler: 'SASolver' }, 'scheduler', '"SASolver" is not known, it must be one of Auto, EulerDiscrete,'),
  schema('a scheduler without its last word', { scheduler: 'Heun' }, 'scheduler', 'did you mean HeunDiscrete?'),
  schema('a scheduler by its class', { scheduler: 'EulerDiscreteScheduler' }, 'scheduler', 'did you mean EulerDiscrete?'),
  schema('a scheduler by the beginning of its name', { scheduler: 'Euler' }, 'scheduler', 'did you mean EulerDiscrete?'),
  schema('a scheduler by its letter', { scheduler: 'euler_a' }, 'scheduler', 'did you mean EulerAncestralDiscrete?'),
  schema('a scheduler by its name in user interfaces', { scheduler: 'DPM++ 2M' }, 'scheduler', 'did you mean DPMSolverMultistep?'),
  schema('a guidance rescale above 1', { guidanceRescale: '1.1' }, 'guidanceRescale', '"1.1" must be a decimal from 0 to 1'),
  schema('a guidance rescale that is a number', { guidanceRescale: 0.7 }, 'guidanceRescale', 'write it in quotes, for example "0.7"'),
  schema('a guidance rescale too long', { guidanceRescale: '0.70000' }, 'guidanceRescale', 'has 7 characters, at most 6'),
  rule(
    'a guidance rescale without guidance',
    { guidanceRescale: '0.7', guidanceScale: '1.0' },
    'guidanceRescale',
    'guidanceRescale "0.7" has no effect with guidanceScale "1.0"',
  ),
  schema('scheduler options that are a text', { schedulerOptions: 'karras' }, 'schedulerOptions', 'must be a map of fields'),
  unknown(
    'an unknown scheduler option',
    { schedulerOptions: { betaStart: '0.1' } },
    'schedulerOptions.betaStart',
    'is an unknown field; known ones are timestepSpacing',
  ),
  schema(
    "a spacing in diffusers' spelling",
    { schedulerOptions: { timestepSpacing: 'trailing' } },
    'schedulerOptions.timestepSpacing',
    'did you mean Trailing?',
  ),
  schema('an offset below zero', { schedulerOptions: { stepsOffset: -1 } }, 'schedulerOptions.stepsOffset', '-1 is out of range'),
  schema(
    'a prediction of flow',
    { schedulerOptions: { predictionType: 'Flow' } },
    'schedulerOptions.predictionType',
    'must be one of Epsilon, VPrediction, Sample',
  ),
  schema(
    'zero SNR in words',
    { schedulerOptions: { rescaleBetasZeroSnr: 'yes' } },
    'schedulerOptions.rescaleBetasZeroSnr',
    'must be true or false',
  ),
  schema('Karras in words', { schedulerOptions: { useKarrasSigmas: 'true' } }, 'schedulerOptions.useKarrasSigmas', 'must be true or false'),
  schema('a final sigma of 1', { schedulerOptions: { finalSigmasType: 'One' } }, 'schedulerOptions.finalSigmasType', 'Zero, SigmaMin'),
  schema(
    'an algorithm for noise',
    { schedulerOptions: { algorithmType: 'DPMSolver' } },
    'schedulerOptions.algorithmType',
    '"DPMSolver" is not known',
  ),
  schema('a solver type of none', { schedulerOptions: { solverType: 'Rk4' } }, 'schedulerOptions.solverType', '"Rk4" is not known'),
  schema('a solver of order 4', { schedulerOptions: { solverOrder: 4 } }, 'schedulerOptions.solverOrder', 'must be from 1 to 3'),
  schema('a lower order of 1', { schedulerOptions: { lowerOrderFinal: 1 } }, 'schedulerOptions.lowerOrderFinal', 'must be true or false'),
  schema('a final Euler of 1', { schedulerOptions: { eulerAtFinal: 1 } }, 'schedulerOptions.eulerAtFinal', 'must be true or false'),
  schema('a final alpha of 1', { schedulerOptions: { setAlphaToOne: 1 } }, 'schedulerOptions.setAlphaToOne', 'must be true or false'),
  schema('an eta above 1', { schedulerOptions: { eta: '1.5' } }, 'schedulerOptions.eta', '"1.5" must be a decimal from 0 to 1'),
  schema('an eta that is a number', { schedulerOptions: { eta: 0.3 } }, 'schedulerOptions.eta', 'write it in quotes, for example "0.3"'),
  rule(
    'Runge-Kutta steps',
    { schedulerOptions: { skipPrkSteps: false } },
    'schedulerOptions.skipPrkSteps',
    'skipPrkSteps false is not supported',
  ),
  rule('clipped samples', { schedulerOptions: { clipSample: true } }, 'schedulerOptions.clipSample', 'clipSample true is not supported'),
  schema(
    'a distillation of no steps',
    { schedulerOptions: { originalInferenceSteps: 0 } },
    'schedulerOptions.originalInferenceSteps',
    '0 is out of range',
  ),
  schema('a backend in lower case', { backend: 'onnx' }, 'backend', 'must be one of Auto, Onnx, Cuda; did you mean Onnx?'),
  schema('a backend not yet there', { backend: 'Rocm' }, 'backend', '"Rocm" is not known, it must be one of Auto, Onnx, Cuda'),
  schema('a dtype in the name of torch', { dtype: 'float32' }, 'dtype', 'did you mean Float32?'),
  schema('a dtype not yet there', { dtype: 'BFloat16' }, 'dtype', '"BFloat16" is not known'),

  // Parallelism, output, deadlines
  schema('parallelism a number', { parallelism: 2 }, 'parallelism', '2 (a number) must be a map of fields'),
  schema('a cfgDegree of 3', { parallelism: { cfgDegree: 3 } }, 'parallelism.cfgDegree', '3 is out of range, it must be from 1 to 2'),
  schema(
    'a patchDegree of 0',
    { parallelism: { patchDegree: 0 } },
    'parallelism.patchDegree',
    '0 is out of range, it must be from 1 to 32',
  ),
  schema('a patchDegree of 33', { parallelism: { patchDegree: 33 } }, 'parallelism.patchDegree', '33 is out of range'),
  schema('an unknown mode', { parallelism: { mode: 'Displaced' } }, 'parallelism.mode', 'must be one of Synchronous, SyncGn,'),
  schema(
    'a mode in lower case',
    { parallelism: { patchDegree: 2, mode: 'correctedAsyncGn' } },
    'parallelism.mode',
    'did you mean CorrectedAsyncGn?',
  ),
  schema(
    'a warm-up below zero',
    { parallelism: { warmupSteps: -1 } },
    'parallelism.warmupSteps',
    '-1 is out of range, it must be from 0 to 1000',
  ),
  schema('an output that is no PNG', { output: { path: 'output.jpg' } }, 'output.path', '"output.jpg" must end in .png, in lower case'),
  schema('an output without a name', { output: { path: 'images/.png/' } }, 'output.path', 'must end in .png'),
  schema(
    'a name of only the suffix',
    { output: { path: '.png' } },
    'output.path',
    '".png" must end in .png, in lower case, with a name before it',
  ),
  rule(
    'an output that is an address',
    { output: { path: 's3://pictures/output.png' } },
    'output.path',
    'for object storage give s3 with bucket',
  ),
  schema('an output that is a text', { output: 'output.png' }, 'output', '"output.png" (a string) must be a map of fields'),
  schema('a deadline of 0', { progressDeadlineSeconds: 0 }, 'progressDeadlineSeconds', '0 is out of range, it must be from 1 to 86400'),
  schema(
    'a deadline in words',
    { rendezvousTimeoutSeconds: '5m' },
    'rendezvousTimeoutSeconds',
    '"5m" (a string) must be an integer from 1 to 86400',
  ),
  schema('a deadline of days', { rendezvousTimeoutSeconds: 86_401 }, 'rendezvousTimeoutSeconds', '86401 is out of range'),

  // Rules between fields
  rule(
    'a height that two patches cannot share',
    { height: 96, parallelism: { patchDegree: 2 } },
    'height',
    'height 96 cannot be split over patchDegree 2: it must be a multiple of 32 x patchDegree = 64, the nearest are 64 and 128',
  ),
  rule(
    'a height below one patch',
    { height: 64, parallelism: { patchDegree: 4 } },
    'height',
    'it must be a multiple of 32 x patchDegree = 128',
  ),
  rule('the default height over 3', { parallelism: { patchDegree: 3 } }, 'height', 'the nearest are 960 and 1056'),
  rule(
    'a height of 8 over two branches',
    { height: 1000, parallelism: { cfgDegree: 2 } },
    'height',
    'height 1000 cannot be decoded by both ranks of cfgDegree 2: it must be a multiple of 16, the nearest are 992 and 1008',
  ),
  rule('the largest height over 3', { height: 4096, parallelism: { patchDegree: 3 } }, 'height', 'the nearest is 4032'),
  rule('two branches without guidance', { guidanceScale: '1', parallelism: { cfgDegree: 2 } }, 'parallelism.cfgDegree', 'found "1"'),
  rule(
    'two branches with guidance 1.0000',
    { guidanceScale: '1.0000', parallelism: { cfgDegree: 2 } },
    'parallelism.cfgDegree',
    'needs guidanceScale above 1',
  ),
  rule(
    'stale neighbours without neighbours',
    { parallelism: { cfgDegree: 2, mode: 'StaleGn' } },
    'parallelism.mode',
    'mode StaleGn needs patchDegree above 1',
  ),
  rule(
    'a negative prompt without guidance',
    { guidanceScale: '0', negativePrompt: 'blurry' },
    'negativePrompt',
    'has no effect with guidanceScale "0"',
  ),
  rule('an empty negative prompt without guidance', { guidanceScale: '1.0', negativePrompt: '' }, 'negativePrompt', 'has no effect'),
  rule('a second negative prompt alone', { negativePrompt2: 'night' }, 'negativePrompt2', 'negativePrompt2 needs negativePrompt'),
  rule(
    'a negative original size alone',
    { negativeOriginalSize: { height: 64, width: 64 } },
    'negativeOriginalSize',
    'has no effect without negativeTargetSize: give both or neither',
  ),
  rule(
    'a negative target size alone',
    { negativeTargetSize: { height: 64, width: 64 } },
    'negativeTargetSize',
    'has no effect without negativeOriginalSize: give both or neither',
  ),
  rule(
    'a negative crop alone',
    { negativeCropsCoordsTopLeft: { top: 0, left: 0 } },
    'negativeCropsCoordsTopLeft',
    'has no effect without negativeOriginalSize and negativeTargetSize',
  ),
  rule(
    'negative sizes without guidance',
    { guidanceScale: '1.0', negativeOriginalSize: { height: 64, width: 64 }, negativeTargetSize: { height: 64, width: 64 } },
    'negativeOriginalSize',
    'has no effect with guidanceScale "1.0"',
  ),
  rule('seeds beyond the largest', { seed: largestSeed, numImages: 2 }, 'seed', 'take a seed of at most 9007199254740990'),

  schema('a dataDegree of 0', { parallelism: { dataDegree: 0 } }, 'parallelism.dataDegree', 'must be from 1 to 64'),
  rule(
    'more images at once than there are',
    { numImages: 2, parallelism: { dataDegree: 4 } },
    'parallelism.dataDegree',
    'dataDegree 4 with numImages 2 leaves ranks without an image',
  ),
  rule(
    'more ranks than a gang may have',
    { height: 4096, numImages: 3, parallelism: { dataDegree: 3, patchDegree: 32 } },
    'parallelism',
    'dataDegree 3 x cfgDegree 1 x patchDegree 32 = 96 ranks, at most 64 are allowed',
  ),
  schema('a mesh of no kind', { parallelism: { mesh: 'auto', ranks: 2 } }, 'parallelism.mesh', 'did you mean Auto?'),
  schema('no ranks at all', { parallelism: { mesh: 'Auto', ranks: 0 } }, 'parallelism.ranks', 'must be from 1 to 64'),
  rule('a mesh to choose for nobody knows how many', { parallelism: { mesh: 'Auto' } }, 'parallelism.ranks', 'mesh Auto needs ranks'),
  rule('ranks of an explicit mesh', { parallelism: { ranks: 2 } }, 'parallelism.ranks', 'ranks is for mesh Auto'),
  rule(
    'a mesh to choose that is given too',
    { parallelism: { mesh: 'Auto', ranks: 4, patchDegree: 2 } },
    'parallelism.mesh',
    'mesh Auto chooses the degrees: remove dataDegree',
  ),
  rule(
    'pods of unequal size with a mesh to choose',
    { parallelism: { mesh: 'Auto', ranks: 4, ranksPerPod: 3 } },
    'parallelism.ranksPerPod',
    'ranksPerPod 3 does not divide ranks 4',
  ),
  rule(
    'pods of unequal size',
    { parallelism: { patchDegree: 4, ranksPerPod: 3 } },
    'parallelism.ranksPerPod',
    'ranksPerPod 3 does not divide the number of ranks, dataDegree 1 x cfgDegree 1 x patchDegree 4 = 4',
  ),
  rule(
    'a pod for more ranks than there are',
    { parallelism: { ranksPerPod: 2 } },
    'parallelism.ranksPerPod',
    'ranksPerPod 2 does not divide',
  ),
  rule(
    'an idle accelerator',
    { backend: 'Onnx', accelerator: { resourceName: 'nvidia.com/gpu' } },
    'backend',
    'would leave the accelerator idle',
  ),
  rule('an accelerator of no kind', { accelerator: {} }, 'accelerator', 'exactly one of resourceName and resourceClaimTemplateName'),
  rule(
    'an accelerator of two kinds',
    { accelerator: { resourceName: 'nvidia.com/gpu', resourceClaimTemplateName: 'gpus' } },
    'accelerator',
    'exactly one of resourceName and resourceClaimTemplateName',
  ),
  ...[{ claim: { name: 'a' } }, { size: '1Gi' }, { storageClassName: 'a' }].map((more) =>
    rule(
      `images in a bucket and with ${Object.keys(more).join()}`,
      { output: { s3: { bucket: 'pictures' }, ...more } },
      'output',
      'with s3 remove claim, size and storageClassName, or remove s3',
    ),
  ),
  schema(
    'a bucket for images with its scheme',
    { output: { s3: { bucket: 's3://pictures' } } },
    'output.s3.bucket',
    '"s3://pictures" must be the name of a bucket alone, without "s3://"',
  ),
  schema(
    'an endpoint for images with spaces',
    { output: { s3: { bucket: 'abc', endpoint: 'http://a b' } } },
    'output.s3.endpoint',
    'must be an http or https address without spaces',
  ),
  rule(
    'credentials that pods have twice',
    {
      output: { s3: { bucket: 'abc', credentialsSecret: { name: 'a' } } },
      pods: { env: [{ name: 'AWS_ACCESS_KEY_ID', value: 'b' }] },
    },
    'pods.env',
    'remove them here, or remove credentialsSecret',
  ),
  rule('a size for a claim that exists', { output: { claim: { name: 'a' }, size: '1Gi' } }, 'output', 'claim names one that exists'),
  rule('a label of the operator', { pods: { labels: { 'sdxl.io/job-name': 'a' } } }, 'pods.labels', 'are set by the operator'),
  rule('a label of the Job controller', { pods: { labels: { 'job-name': 'a' } } }, 'pods.labels', 'are set by Kubernetes'),
  rule('a label that cannot be', { pods: { labels: { 'a b': 'c' } } }, 'pods.labels', 'keys are as of every Kubernetes object'),
  rule('an annotation that cannot be', { pods: { annotations: { '/a': 'c' } } }, 'pods.annotations', 'keys are as of every'),
  rule('a label no node can have', { pods: { nodeSelector: { 'example.com/': 'c' } } }, 'pods.nodeSelector', 'keys are as of every'),
  rule('a variable of the operator', { pods: { env: [{ name: 'SDXL_CACHE_DIR', value: 'a' }] } }, 'pods.env[0]', 'is set by the operator'),
  rule('a rank from outside', { pods: { env: [{ name: 'NODE_RANK', value: '0' }] } }, 'pods.env[0]', 'is set by the operator'),
  rule('a variable without a value', { pods: { env: [{ name: 'A' }] } }, 'pods.env[0]', 'exactly one of value and secret'),
  rule(
    'a toleration with a value too many',
    { pods: { tolerations: [{ key: 'a', operator: 'Exists', value: 'b' }] } },
    'pods.tolerations[0]',
    'has no value',
  ),
  rule('a toleration of nothing', { pods: { tolerations: [{ value: 'b' }] } }, 'pods.tolerations[0]', 'must have operator Exists'),

  // Cluster
  schema('no ranks in a pod', { parallelism: { ranksPerPod: 0 } }, 'parallelism.ranksPerPod', '0 is out of range, it must be from 1 to 64'),
  schema('a size without a unit', { output: { size: '100' } }, 'output.size', '"100" must be a whole number followed by Mi, Gi or Ti'),
  schema('restarts below zero', { failurePolicy: { maxRestarts: -1 } }, 'failurePolicy.maxRestarts', '-1 is out of range'),
  schema('a deadline below one', { activeDeadlineSeconds: 0 }, 'activeDeadlineSeconds', '0 is out of range'),
  schema('a time to live below zero', { ttlSecondsAfterFinished: -1 }, 'ttlSecondsAfterFinished', '-1 is out of range'),
  schema('suspend as a text', { suspend: 'yes' }, 'suspend', '"yes" (a string) must be true or false'),
  schema('a clean-up of nobody', { cleanPodPolicy: 'Running' }, 'cleanPodPolicy', 'must be one of None, All'),
  schema('a queue in capitals', { scheduling: { queueName: 'GPUs' } }, 'scheduling.queueName', '"GPUs" must hold lower-case letters'),
  schema(
    'a gang scheduler of nobody',
    { scheduling: { gang: 'Yunikorn' } },
    'scheduling.gang',
    'must be one of None, Coscheduling, Volcano',
  ),
  schema('a topology without a key', { scheduling: { topology: {} } }, 'scheduling.topology.key', 'is required'),
  schema('a cache without a claim', { cache: {} }, 'cache.claim', 'is required'),
  schema(
    'a quantity in words',
    { pods: { resources: { limits: { memory: 'much' } } } },
    'pods.resources.limits.memory',
    'must be a quantity such as',
  ),
  schema(
    'a quantity that is a number',
    { pods: { resources: { limits: { cpu: 4 } } } },
    'pods.resources.limits.cpu',
    '4 (a number) must be a string: write it in quotes',
  ),
  schema('the user root', { pods: { runAsUser: 0 } }, 'pods.runAsUser', '0 is out of range'),
  schema(
    'a variable with a dash',
    { pods: { env: [{ name: 'A-B', value: 'c' }] } },
    'pods.env[0].name',
    'must hold letters, digits and "_" only',
  ),
  schema(
    'too many node labels',
    { pods: { nodeSelector: Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`a${String(i)}`, 'b'])) } },
    'pods.nodeSelector',
    'is too large, at most 16 entries',
  ),
  schema('network devices of no kind', { network: { count: 1 } }, 'network.resourceName', 'is required'),

  // Unknown fields
  unknown('a field in snake case', { num_inference_steps: 3 }, 'num_inference_steps', 'did you mean numInferenceSteps?'),
  unknown('a misspelt field', { promt: 'x' }, 'promt', 'did you mean prompt?'),
  unknown('letters swapped', { heigth: 64 }, 'heigth', 'did you mean height?'),
  unknown('a field in the wrong place', { patchDegree: 2 }, 'patchDegree', 'did you mean spec.parallelism.patchDegree?'),
  unknown('a field of nothing', { loraWeights: 'x' }, 'loraWeights', 'is an unknown field; known ones are model, prompt'),
  unknown(
    'an unknown field of the model',
    { model: { path: 'x', format: 'ckpt' } },
    'model.format',
    'known ones are path, claim, image, huggingFace, s3',
  ),
  unknown(
    'an unknown field of parallelism',
    { parallelism: { tensorDegree: 2 } },
    'parallelism.tensorDegree',
    'known ones are mesh, ranks, dataDegree, cfgDegree, patchDegree, ranksPerPod, mode, warmupSteps',
  ),
  unknown('an inherited name', { toString: 'x' }, 'toString', 'is an unknown field'),
];

/** A change that an API server and the validator refuse, whatever the fields' values. */
export interface InvalidChange {
  readonly name: string;
  readonly from: Record<string, unknown>;
  readonly to: Record<string, unknown>;
}

export const invalidChanges: readonly InvalidChange[] = [
  { name: 'another prompt', from: jobWith({}), to: jobWith({ prompt: 'a boat' }) },
  { name: 'another default written out', from: jobWith({}), to: jobWith({ height: 512 }) },
  { name: 'a nested field', from: jobWith({}), to: jobWith({ parallelism: { patchDegree: 2 } }) },
  { name: 'a field added', from: jobWith({}), to: jobWith({ negativePrompt: 'blurry' }) },
  { name: 'a field removed', from: jobWith({ negativePrompt: 'blurry' }), to: jobWith({}) },
  { name: 'another size to be told of', from: jobWith({ originalSize: { height: 512, width: 512 } }), to: jobWith({}) },
  {
    name: 'one prompt of several',
    from: jobWith({ prompt: undefined, prompts: [{ prompt: 'a' }, { prompt: 'b' }] }),
    to: jobWith({ prompt: undefined, prompts: [{ prompt: 'a' }, { prompt: 'c' }] }),
  },
  { name: 'the layers skipped', from: jobWith({}), to: jobWith({ clipSkip: 1 }) },
  { name: 'the pods', from: jobWith({}), to: jobWith({ pods: { runAsUser: 1000 } }) },
  { name: 'an accelerator added', from: jobWith({}), to: jobWith({ accelerator: { resourceName: 'nvidia.com/gpu' } }) },
  { name: 'a deadline removed', from: jobWith({ activeDeadlineSeconds: 60 }), to: jobWith({}) },
  { name: 'another claim', from: jobWith({ output: { claim: { name: 'a' } } }), to: jobWith({ output: { claim: { name: 'b' } } }) },
  { name: 'the model', from: jobWith({}), to: jobWith({ model: { path: 'models/other' } }) },
];
