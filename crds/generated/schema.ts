// Generated from crds/sdxl.io_sdxljobs.yaml by "npm run generate". Do not edit.
import type { StructuralSchema } from '../structural-schema.js';

export const apiVersion = 'sdxl.io/v1alpha1';
export const kind = 'SdxlJob';

export const sdxlJobSchema: StructuralSchema = {
  type: 'object',
  description: "A job that makes images of one prompt with Stable Diffusion XL, each image on all of the job's ranks at once.",
  required: ['spec'],
  'x-kubernetes-validations': [
    {
      rule: 'self.metadata.name.size() <= 40',
      message: 'metadata.name may have at most 40 characters, because names of pods and hosts are derived from it',
      messageExpression:
        "'metadata.name %s has %s characters, at most 40 are allowed, because names of pods and hosts are derived from it' .format([self.metadata.name, string(self.metadata.name.size())])",
    },
  ],
  properties: {
    apiVersion: {
      type: 'string',
      description: 'The version of this schema, `sdxl.io/v1alpha1`.',
    },
    kind: {
      type: 'string',
      description: 'The kind of this object, `SdxlJob`.',
    },
    metadata: {
      type: 'object',
    },
    spec: {
      type: 'object',
      description: 'What to make and how. Immutable, so that every image of a job is made from the same input.',
      required: ['model', 'prompt'],
      'x-kubernetes-validations': [
        {
          rule: 'self == oldSelf',
          message: 'spec is immutable: create a job with another name, or delete this one first',
        },
        {
          rule: 'self.height % (32 * self.parallelism.patchDegree) == 0',
          fieldPath: '.height',
          message: 'height must be a multiple of 32 x parallelism.patchDegree',
          messageExpression:
            "self.height < 32 * self.parallelism.patchDegree ? 'height %d cannot be split over patchDegree %d: it must be a multiple of 32 x patchDegree = %d' .format([self.height, self.parallelism.patchDegree, 32 * self.parallelism.patchDegree]) : (self.height / (32 * self.parallelism.patchDegree) + 1) * 32 * self.parallelism.patchDegree > 4096 ? 'height %d cannot be split over patchDegree %d: it must be a multiple of 32 x patchDegree = %d, the nearest is %d' .format([self.height, self.parallelism.patchDegree, 32 * self.parallelism.patchDegree, self.height / (32 * self.parallelism.patchDegree) * 32 * self.parallelism.patchDegree]) : 'height %d cannot be split over patchDegree %d: it must be a multiple of 32 x patchDegree = %d, the nearest are %d and %d' .format([self.height, self.parallelism.patchDegree, 32 * self.parallelism.patchDegree, self.height / (32 * self.parallelism.patchDegree) * 32 * self.parallelism.patchDegree, (self.height / (32 * self.parallelism.patchDegree) + 1) * 32 * self.parallelism.patchDegree])",
        },
        {
          rule: 'self.parallelism.cfgDegree == 1 || double(self.guidanceScale) > 1.0',
          fieldPath: '.parallelism.cfgDegree',
          message: 'cfgDegree 2 needs guidanceScale above 1',
          messageExpression:
            '\'cfgDegree 2 needs guidanceScale above 1, found "%s": without guidance there is no second branch to compute, so set cfgDegree to 1\' .format([self.guidanceScale])',
        },
        {
          rule: '!has(self.negativePrompt) || double(self.guidanceScale) > 1.0',
          fieldPath: '.negativePrompt',
          message: 'negativePrompt has no effect unless guidanceScale is above 1',
          messageExpression:
            '\'negativePrompt has no effect with guidanceScale "%s": raise guidanceScale above 1 or remove negativePrompt\' .format([self.guidanceScale])',
        },
        {
          rule: 'self.seed + self.numImages - 1 <= 9007199254740991',
          fieldPath: '.seed',
          message: 'seed + numImages - 1 must be at most 9007199254740991, because image i uses seed + i',
          messageExpression:
            "'seed %d with numImages %d goes beyond the largest seed 9007199254740991, because image i uses seed + i: take a seed of at most %d' .format([self.seed, self.numImages, 9007199254740992 - self.numImages])",
        },
      ],
      properties: {
        model: {
          type: 'object',
          description: 'Where the weights come from.',
          required: ['path'],
          properties: {
            path: {
              type: 'string',
              minLength: 1,
              maxLength: 4096,
              pattern: '^[^\\x00-\\x1f\\x7f]+$',
              description:
                "Directory of a Stable Diffusion XL model in diffusers layout. It holds `model_index.json`, `unet/`, `text_encoder/` and so on, and every rank sees it. A relative path is resolved against the working directory of the process: on the command line the directory `sdxl` was started in, not that of the job's file; in a container its working directory.",
              example: 'models/tiny-sdxl',
            },
          },
        },
        prompt: {
          type: 'string',
          minLength: 1,
          maxLength: 4096,
          description: 'What the images show. Given to both text encoders.',
          example: 'flowers, rabbit',
        },
        negativePrompt: {
          type: 'string',
          maxLength: 4096,
          description:
            "What the images must not show. Left out, guidance starts from the model's unconditional embedding, zeros where its `model_index.json` has `force_zeros_for_empty_prompt`; an empty text is encoded like any other. Needs guidanceScale above 1.",
        },
        height: {
          type: 'integer',
          format: 'int32',
          minimum: 64,
          maximum: 4096,
          multipleOf: 32,
          default: 1024,
          description:
            'Height of each image in pixels. A multiple of 32 x patchDegree, so that every rank has equally many rows at each level of the UNet.',
        },
        width: {
          type: 'integer',
          format: 'int32',
          minimum: 64,
          maximum: 4096,
          multipleOf: 32,
          default: 1024,
          description: 'Width of each image in pixels. A multiple of 32.',
        },
        numImages: {
          type: 'integer',
          format: 'int32',
          minimum: 1,
          maximum: 10000,
          default: 1,
          description:
            'How many images to make. Image i (from 0) uses seed + i, so its pixels depend on neither the others nor their number.',
        },
        seed: {
          type: 'integer',
          format: 'int64',
          minimum: 0,
          maximum: 9007199254740991,
          default: 0,
          description:
            "Seed of the first image's noise, which equals that of a torch CPU generator with the same seed. At most 2^53 - 1, the largest integer that every JSON reader keeps exactly; so is seed + numImages - 1.",
          example: 233,
        },
        numInferenceSteps: {
          type: 'integer',
          format: 'int32',
          minimum: 1,
          maximum: 1000,
          default: 50,
          description: 'Denoising steps of each image.',
        },
        guidanceScale: {
          type: 'string',
          maxLength: 7,
          pattern: '^[0-9]{1,2}(\\.[0-9]{1,4})?$',
          default: '5.0',
          description:
            'Weight of classifier-free guidance, a decimal number from 0 to 99.9999 written as a string. Up to 1 guidance is off, and each step computes one branch instead of two.',
          example: '5.0',
        },
        scheduler: {
          type: 'string',
          enum: ['EulerDiscrete'],
          maxLength: 32,
          default: 'EulerDiscrete',
          description:
            "The noise schedule's solver, by the name of its class in diffusers. Its betas and spacing are read from the model's `scheduler/scheduler_config.json`.",
        },
        parallelism: {
          type: 'object',
          default: {},
          description:
            'How one image is spread over ranks. The job has cfgDegree x patchDegree ranks, each on its own device (or its share of the processors).',
          properties: {
            cfgDegree: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 2,
              default: 1,
              description:
                '2 computes the conditional and the unconditional branch on different ranks; 1 computes both on each. 2 needs guidanceScale above 1.',
            },
            patchDegree: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 32,
              default: 1,
              description:
                'Number of horizontal stripes an image is cut into, one for each rank. Height must be a multiple of 32 x patchDegree.',
              example: 2,
            },
            mode: {
              type: 'string',
              enum: ['Synchronous'],
              maxLength: 32,
              default: 'Synchronous',
              description:
                "When stripes learn of their neighbours' activations. `Synchronous`: in every layer of every step, so that the images equal those of one rank.",
            },
          },
        },
        backend: {
          type: 'string',
          enum: ['Auto', 'Onnx'],
          maxLength: 32,
          default: 'Auto',
          description:
            'What executes the model; the same on every rank. `Onnx`: ONNX Runtime on the processor. `Auto`: `Onnx`, the only one so far.',
        },
        dtype: {
          type: 'string',
          enum: ['Auto', 'Float32'],
          maxLength: 32,
          default: 'Auto',
          description:
            "Type of weights and activations while computing, whatever the files hold. `Auto`: the backend's own choice, `Float32` for `Onnx`.",
        },
        output: {
          type: 'object',
          default: {},
          description: 'Where the images go.',
          properties: {
            path: {
              type: 'string',
              maxLength: 4096,
              pattern: '^([^\\x00-\\x1f\\x7f]*/)?[^/\\x00-\\x1f\\x7f]+\\.png$',
              default: 'output.png',
              description:
                'PNG file the image is written to, whole or not at all, with a JSON file of its parameters and latencies beside it. With numImages above 1 image i goes to `<name>-<i>.png`, i from 0. A relative path is resolved against the working directory, as that of the model.',
              example: 'output.png',
            },
          },
        },
        rendezvousTimeoutSeconds: {
          type: 'integer',
          format: 'int32',
          minimum: 1,
          maximum: 86400,
          default: 600,
          description:
            "How long ranks wait for each other at the start, the engine's build included. Then the attempt fails with the missing ranks named.",
        },
        progressDeadlineSeconds: {
          type: 'integer',
          format: 'int32',
          minimum: 1,
          maximum: 86400,
          default: 600,
          description:
            'How long a rank may go without finishing a denoising step or another stage of an image. Then it is taken for hung and the attempt fails with that rank named.',
        },
      },
    },
    status: {
      type: 'object',
      default: {
        observedGeneration: -1,
      },
      description: 'What has become of the job. Written by the operator.',
      properties: {
        observedGeneration: {
          type: 'integer',
          format: 'int64',
          description: 'The metadata.generation this status speaks of; -1 until the operator has seen the job.',
        },
        conditions: {
          type: 'array',
          maxItems: 32,
          'x-kubernetes-list-type': 'map',
          'x-kubernetes-list-map-keys': ['type'],
          description: "The job's state by aspect. `Complete` and `Failed` are final, and at most one of them becomes `True`.",
          items: {
            type: 'object',
            required: ['type', 'status', 'lastTransitionTime', 'reason', 'message'],
            properties: {
              type: {
                type: 'string',
                maxLength: 316,
                pattern: '^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$',
                description: 'The aspect, such as `Complete` or `Failed`.',
              },
              status: {
                type: 'string',
                enum: ['True', 'False', 'Unknown'],
                maxLength: 7,
                description: 'Whether it holds.',
              },
              observedGeneration: {
                type: 'integer',
                format: 'int64',
                minimum: 0,
                description: 'The metadata.generation this condition speaks of.',
              },
              lastTransitionTime: {
                type: 'string',
                format: 'date-time',
                maxLength: 64,
                description: 'When status last changed.',
              },
              reason: {
                type: 'string',
                minLength: 1,
                maxLength: 1024,
                pattern: '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$',
                description: 'Why, in one CamelCase word for programs.',
              },
              message: {
                type: 'string',
                maxLength: 32768,
                description: 'Why, in a sentence for people.',
              },
            },
          },
        },
      },
    },
  },
};
