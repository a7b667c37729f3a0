// Generated from crds/sdxl.io_sdxljobs.yaml by "npm run generate". Do not edit.
import type { StructuralSchema } from '../structural-schema.js';

export const apiVersion = 'sdxl.io/v1alpha1';
export const kind = 'SdxlJob';

export const sdxlJobSchema: StructuralSchema = {
  type: 'object',
  description: "A job that makes images of one prompt with Stable Diffusion XL, each image on one of the job's ranks or on many at once.",
  required: ['spec'],
  'x-kubernetes-validations': [
    {
      rule: 'self.metadata.name.size() <= 40',
      message: 'metadata.name may have at most 40 characters, because names of pods and hosts are derived from it',
      messageExpression:
        "'metadata.name %s has %s characters, at most 40 are allowed, because names of pods and hosts are derived from it' .format([self.metadata.name, string(self.metadata.name.size())])",
    },
    {
      rule: "!self.metadata.name.contains('.')",
      message: 'metadata.name may hold no ".", because names of hosts are derived from it',
    },
    {
      rule: "self.metadata.name.matches('^[a-z]')",
      message: 'metadata.name must begin with a letter, because names of Services are derived from it',
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
      description:
        'What to make and how. Immutable but for suspend, ttlSecondsAfterFinished and, while the job is suspended, scheduling, so that every image of a job is made from the same input.',
      required: ['model'],
      'x-kubernetes-validations': [
        {
          rule: 'self.model == oldSelf.model && self.promptSyntax == oldSelf.promptSyntax && self.clipSkip == oldSelf.clipSkip && self.height == oldSelf.height && self.width == oldSelf.width && self.numImages == oldSelf.numImages && self.seed == oldSelf.seed && self.numInferenceSteps == oldSelf.numInferenceSteps && self.guidanceScale == oldSelf.guidanceScale && self.guidanceRescale == oldSelf.guidanceRescale && self.scheduler == oldSelf.scheduler && self.parallelism == oldSelf.parallelism && self.backend == oldSelf.backend && self.dtype == oldSelf.dtype && self.output == oldSelf.output && self.rendezvousTimeoutSeconds == oldSelf.rendezvousTimeoutSeconds && self.progressDeadlineSeconds == oldSelf.progressDeadlineSeconds && self.failurePolicy == oldSelf.failurePolicy && self.cleanPodPolicy == oldSelf.cleanPodPolicy && self.pods == oldSelf.pods && has(self.negativePrompt) == has(oldSelf.negativePrompt) && (!has(self.negativePrompt) || self.negativePrompt == oldSelf.negativePrompt) && has(self.prompt) == has(oldSelf.prompt) && (!has(self.prompt) || self.prompt == oldSelf.prompt) && has(self.prompts) == has(oldSelf.prompts) && (!has(self.prompts) || self.prompts == oldSelf.prompts) && has(self.prompt2) == has(oldSelf.prompt2) && (!has(self.prompt2) || self.prompt2 == oldSelf.prompt2) && has(self.negativePrompt2) == has(oldSelf.negativePrompt2) && (!has(self.negativePrompt2) || self.negativePrompt2 == oldSelf.negativePrompt2) && has(self.originalSize) == has(oldSelf.originalSize) && (!has(self.originalSize) || self.originalSize == oldSelf.originalSize) && has(self.cropsCoordsTopLeft) == has(oldSelf.cropsCoordsTopLeft) && (!has(self.cropsCoordsTopLeft) || self.cropsCoordsTopLeft == oldSelf.cropsCoordsTopLeft) && has(self.targetSize) == has(oldSelf.targetSize) && (!has(self.targetSize) || self.targetSize == oldSelf.targetSize) && has(self.negativeOriginalSize) == has(oldSelf.negativeOriginalSize) && (!has(self.negativeOriginalSize) || self.negativeOriginalSize == oldSelf.negativeOriginalSize) && has(self.negativeCropsCoordsTopLeft) == has(oldSelf.negativeCropsCoordsTopLeft) && (!has(self.negativeCropsCoordsTopLeft) || self.negativeCropsCoordsTopLeft == oldSelf.negativeCropsCoordsTopLeft) && has(self.negativeTargetSize) == has(oldSelf.negativeTargetSize) && (!has(self.negativeTargetSize) || self.negativeTargetSize == oldSelf.negativeTargetSize) && has(self.schedulerOptions) == has(oldSelf.schedulerOptions) && (!has(self.schedulerOptions) || self.schedulerOptions == oldSelf.schedulerOptions) && has(self.activeDeadlineSeconds) == has(oldSelf.activeDeadlineSeconds) && (!has(self.activeDeadlineSeconds) || self.activeDeadlineSeconds == oldSelf.activeDeadlineSeconds) && has(self.managedBy) == has(oldSelf.managedBy) && (!has(self.managedBy) || self.managedBy == oldSelf.managedBy) && has(self.cache) == has(oldSelf.cache) && (!has(self.cache) || self.cache == oldSelf.cache) && has(self.accelerator) == has(oldSelf.accelerator) && (!has(self.accelerator) || self.accelerator == oldSelf.accelerator) && has(self.network) == has(oldSelf.network) && (!has(self.network) || self.network == oldSelf.network)',
          message:
            'spec is immutable but for suspend, ttlSecondsAfterFinished and scheduling: create a job with another name, or delete this one first',
        },
        {
          rule: 'oldSelf.suspend || has(self.scheduling) == has(oldSelf.scheduling) && (!has(self.scheduling) || self.scheduling == oldSelf.scheduling)',
          fieldPath: '.scheduling',
          message: 'scheduling is immutable unless the job is suspended: set suspend to true first',
        },
        {
          rule: "(self.parallelism.mesh == 'Auto') == has(self.parallelism.ranks)",
          fieldPath: '.parallelism.ranks',
          message: 'mesh Auto needs ranks, and only mesh Auto has them',
          messageExpression:
            "self.parallelism.mesh == 'Auto' ? 'mesh Auto needs ranks: how many ranks the job has, for example 4' : 'ranks is for mesh Auto, which chooses the degrees: set mesh to Auto, or give dataDegree, cfgDegree and patchDegree instead'",
        },
        {
          rule: "self.parallelism.mesh != 'Auto' || self.parallelism.dataDegree * self.parallelism.cfgDegree * self.parallelism.patchDegree == 1",
          fieldPath: '.parallelism.mesh',
          message: 'mesh Auto chooses the degrees: remove dataDegree, cfgDegree and patchDegree, or set mesh to Explicit and remove ranks',
        },
        {
          rule: 'self.parallelism.dataDegree * self.parallelism.cfgDegree * self.parallelism.patchDegree <= 64',
          fieldPath: '.parallelism',
          message: 'dataDegree x cfgDegree x patchDegree may be at most 64',
          messageExpression:
            "'dataDegree %d x cfgDegree %d x patchDegree %d = %d ranks, at most 64 are allowed' .format([self.parallelism.dataDegree, self.parallelism.cfgDegree, self.parallelism.patchDegree, self.parallelism.dataDegree * self.parallelism.cfgDegree * self.parallelism.patchDegree])",
        },
        {
          rule: '!has(self.parallelism.ranksPerPod) || (has(self.parallelism.ranks) ? self.parallelism.ranks : self.parallelism.dataDegree * self.parallelism.cfgDegree * self.parallelism.patchDegree) % self.parallelism.ranksPerPod == 0',
          fieldPath: '.parallelism.ranksPerPod',
          message: 'ranksPerPod must divide the number of ranks',
          messageExpression:
            "has(self.parallelism.ranks) ? 'ranksPerPod %d does not divide ranks %d: every pod must have equally many' .format([self.parallelism.ranksPerPod, self.parallelism.ranks]) : 'ranksPerPod %d does not divide the number of ranks, dataDegree %d x cfgDegree %d x patchDegree %d = %d: every pod must have equally many' .format([self.parallelism.ranksPerPod, self.parallelism.dataDegree, self.parallelism.cfgDegree, self.parallelism.patchDegree, self.parallelism.dataDegree * self.parallelism.cfgDegree * self.parallelism.patchDegree])",
        },
        {
          rule: 'has(self.prompt) != (has(self.prompts) && self.prompts.size() > 0)',
          fieldPath: '.prompt',
          message: 'exactly one of prompt and prompts must be given, for example prompt: flowers, rabbit',
        },
        {
          rule: '!has(self.prompts) || self.prompts.size() * self.numImages <= 10000',
          fieldPath: '.prompts',
          message: 'a job may have 10000 images at most',
          messageExpression:
            "'%d prompts x numImages %d = %d images, at most 10000 are allowed: lower numImages, or make several jobs' .format([self.prompts.size(), self.numImages, self.prompts.size() * self.numImages])",
        },
        {
          rule: '!has(self.prompts) || self.parallelism.patchDegree == 1 || self.prompts.all(p, !has(p.height) || p.height % (32 * self.parallelism.patchDegree) == 0)',
          fieldPath: '.prompts',
          message: 'every height of prompts must be a multiple of 32 x parallelism.patchDegree where that is above 1',
          messageExpression:
            "'every height of prompts must be a multiple of 32 x patchDegree = %d'.format([32 * self.parallelism.patchDegree])",
        },
        {
          rule: '!has(self.prompts) || self.parallelism.cfgDegree == 1 || self.prompts.all(p, !has(p.height) || p.height % 16 == 0)',
          fieldPath: '.prompts',
          message: 'every height of prompts must be a multiple of 16 with cfgDegree 2, so that both ranks decode equally many rows',
        },
        {
          rule: '!has(self.prompts) || double(self.guidanceScale) > 1.0 || self.prompts.all(p, !has(p.negativePrompt))',
          fieldPath: '.prompts',
          message: 'a negativePrompt of prompts has no effect unless guidanceScale is above 1',
          messageExpression:
            '\'a negativePrompt of prompts has no effect with guidanceScale "%s": raise guidanceScale above 1 or remove it\' .format([self.guidanceScale])',
        },
        {
          rule: '!has(self.prompts) || self.prompts.all(p, !has(p.guidanceScale) || (double(p.guidanceScale) > 1.0) == (double(self.guidanceScale) > 1.0))',
          fieldPath: '.prompts',
          message: "a guidanceScale of prompts is above 1 where the job's is, and up to 1 where the job's is not",
          messageExpression:
            "'guidanceScale \"%s\" of the job turns guidance %s for all prompts, and one of them has a guidanceScale that does not: make two jobs' .format([self.guidanceScale, double(self.guidanceScale) > 1.0 ? 'on' : 'off'])",
        },
        {
          rule: '!has(self.prompts) || has(self.negativePrompt) || self.prompts.all(p, !has(p.negativePrompt2) || has(p.negativePrompt))',
          fieldPath: '.prompts',
          message: 'a negativePrompt2 of prompts needs a negativePrompt, there or in the job, empty if need be',
        },
        {
          rule: '!has(self.prompts) || self.prompts.all(p, !has(p.seed) || p.seed + self.numImages - 1 <= 9007199254740991)',
          fieldPath: '.prompts',
          message: 'every seed of prompts + numImages - 1 must be at most 9007199254740991',
        },
        {
          rule: 'self.parallelism.dataDegree <= self.numImages * (has(self.prompts) && self.prompts.size() > 0 ? self.prompts.size() : 1)',
          fieldPath: '.parallelism.dataDegree',
          message: 'dataDegree may be at most the number of images',
          messageExpression:
            "'dataDegree %d with numImages %d leaves ranks without an image: lower dataDegree, or spread each image with cfgDegree and patchDegree' .format([self.parallelism.dataDegree, self.numImages * (has(self.prompts) ? self.prompts.size() : 1)])",
        },
        {
          rule: '!has(self.accelerator) || self.backend != "Onnx"',
          fieldPath: '.backend',
          message:
            'backend Onnx computes on the processor and would leave the accelerator idle: remove accelerator, or take another backend',
        },
        {
          rule: '!has(self.model.huggingFace) || has(self.cache)',
          fieldPath: '.cache',
          message: 'model.huggingFace needs cache.claim: the model is fetched into it once, for all pods and attempts',
        },
        {
          rule: '!has(self.model.s3) || has(self.cache)',
          fieldPath: '.cache',
          message: 'model.s3 needs cache.claim: the model is fetched into it once, for all pods and attempts',
        },
        {
          rule: "!(has(self.model.s3) && has(self.model.s3.credentialsSecret) || has(self.output.s3) && has(self.output.s3.credentialsSecret)) || !has(self.pods.env) || self.pods.env.all(e, !(e.name in ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_SESSION_TOKEN']))",
          fieldPath: '.pods.env',
          message:
            'credentialsSecret sets AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN: remove them here, or remove credentialsSecret',
        },
        {
          rule: 'self.parallelism.cfgDegree == 1 || self.parallelism.patchDegree > 1 || self.height % 16 == 0',
          fieldPath: '.height',
          message: 'height must be a multiple of 16 with cfgDegree 2, so that both ranks decode equally many rows',
          messageExpression:
            "'height %d cannot be decoded by both ranks of cfgDegree 2: it must be a multiple of 16, the nearest are %d and %d' .format([self.height, self.height / 16 * 16, (self.height / 16 + 1) * 16])",
        },
        {
          rule: 'self.parallelism.patchDegree == 1 || self.height % (32 * self.parallelism.patchDegree) == 0',
          fieldPath: '.height',
          message: 'height must be a multiple of 32 x parallelism.patchDegree where that is above 1',
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
          rule: "self.parallelism.mode == 'Synchronous' || self.parallelism.patchDegree > 1 || self.parallelism.mesh == 'Auto'",
          fieldPath: '.parallelism.mode',
          message: 'a mode other than Synchronous needs patchDegree above 1',
          messageExpression:
            "'mode %s needs patchDegree above 1: with one stripe there are no neighbours whose activations could be old, so set mode to Synchronous' .format([self.parallelism.mode])",
        },
        {
          rule: '!has(self.negativePrompt) || double(self.guidanceScale) > 1.0',
          fieldPath: '.negativePrompt',
          message: 'negativePrompt has no effect unless guidanceScale is above 1',
          messageExpression:
            '\'negativePrompt has no effect with guidanceScale "%s": raise guidanceScale above 1 or remove negativePrompt\' .format([self.guidanceScale])',
        },
        {
          rule: '!has(self.negativePrompt2) || has(self.negativePrompt)',
          fieldPath: '.negativePrompt2',
          message:
            'negativePrompt2 needs negativePrompt, what the first text encoder is told: give it too, empty if need be, or remove negativePrompt2',
        },
        {
          rule: '!has(self.negativeOriginalSize) || has(self.negativeTargetSize)',
          fieldPath: '.negativeOriginalSize',
          message: 'negativeOriginalSize has no effect without negativeTargetSize: give both or neither',
        },
        {
          rule: '!has(self.negativeTargetSize) || has(self.negativeOriginalSize)',
          fieldPath: '.negativeTargetSize',
          message: 'negativeTargetSize has no effect without negativeOriginalSize: give both or neither',
        },
        {
          rule: '!has(self.negativeCropsCoordsTopLeft) || has(self.negativeOriginalSize)',
          fieldPath: '.negativeCropsCoordsTopLeft',
          message: 'negativeCropsCoordsTopLeft has no effect without negativeOriginalSize and negativeTargetSize: give both or remove it',
        },
        {
          rule: '!has(self.negativeOriginalSize) || double(self.guidanceScale) > 1.0',
          fieldPath: '.negativeOriginalSize',
          message: 'negativeOriginalSize has no effect unless guidanceScale is above 1',
          messageExpression:
            '\'negativeOriginalSize has no effect with guidanceScale "%s": raise guidanceScale above 1 or remove the negative sizes\' .format([self.guidanceScale])',
        },
        {
          rule: "self.backend != 'Onnx' || self.dtype != 'Float16'",
          fieldPath: '.dtype',
          message: 'backend Onnx computes in Float32: set dtype to Float32 or Auto, or backend to Cuda',
        },
        {
          rule: "self.backend != 'Cuda' || self.dtype != 'Float32'",
          fieldPath: '.dtype',
          message: 'backend Cuda computes in Float16: set dtype to Float16 or Auto, or backend to Onnx',
        },
        {
          rule: 'double(self.guidanceRescale) == 0.0 || double(self.guidanceScale) > 1.0',
          fieldPath: '.guidanceRescale',
          message: 'guidanceRescale has no effect unless guidanceScale is above 1',
          messageExpression:
            '\'guidanceRescale "%s" has no effect with guidanceScale "%s": raise guidanceScale above 1 or remove guidanceRescale\' .format([self.guidanceRescale, self.guidanceScale])',
        },
        {
          rule: 'self.seed + self.numImages * (has(self.prompts) ? self.prompts.size() : 1) - 1 <= 9007199254740991',
          fieldPath: '.seed',
          message: 'seed + numImages - 1 must be at most 9007199254740991, because image i uses seed + i',
          messageExpression:
            "'seed %d with numImages %d goes beyond the largest seed 9007199254740991, because image i uses seed + i: take a seed of at most %d' .format([self.seed, self.numImages * (has(self.prompts) ? self.prompts.size() : 1), 9007199254740992 - self.numImages * (has(self.prompts) ? self.prompts.size() : 1)])",
        },
      ],
      properties: {
        model: {
          type: 'object',
          description:
            'Where the weights come from, and what is merged into them. Exactly one of path, claim, image, huggingFace and s3 is given.',
          'x-kubernetes-validations': [
            {
              rule: '(has(self.path) ? 1 : 0) + (has(self.claim) ? 1 : 0) + (has(self.image) ? 1 : 0) + (has(self.huggingFace) ? 1 : 0) + (has(self.s3) ? 1 : 0) == 1',
              message: 'exactly one of path, claim, image, huggingFace and s3 must be given, for example path: models/tiny-sdxl',
            },
            {
              rule: "has(self.tokenizer) || has(self.configFrom) || !(has(self.path) ? self.path : has(self.claim) ? self.claim.path : has(self.image) ? self.image.path : '').endsWith('.safetensors')",
              fieldPath: '.tokenizer',
              message:
                'a single-file model holds no tokenizers: give a directory with tokenizer/ and tokenizer_2/ as tokenizer or configFrom',
            },
            {
              rule: "(!has(self.tokenizer) && !has(self.configFrom)) || (has(self.path) ? self.path : has(self.claim) ? self.claim.path : has(self.image) ? self.image.path : '').endsWith('.safetensors')",
              message: 'tokenizer and configFrom are for single-file models, whose path ends in .safetensors: a directory has its own',
            },
            {
              rule: "!has(self.variant) || !(has(self.path) ? self.path : has(self.claim) ? self.claim.path : has(self.image) ? self.image.path : '').endsWith('.safetensors')",
              fieldPath: '.variant',
              message: 'variant is for directories: a single-file model is one file',
            },
          ],
          properties: {
            path: {
              type: 'string',
              minLength: 1,
              maxLength: 4096,
              pattern: '^[^\\x00-\\x1f\\x7f]+$',
              description:
                "Directory of a Stable Diffusion XL model in diffusers layout, which holds `model_index.json`, `unet/`, `text_encoder/` and so on; or a checkpoint in the original layout, whose name ends in `.safetensors` (see tokenizer). Every rank sees it. A relative path is resolved against the working directory of the process: on the command line the directory `sdxl` was started in, not that of the job's file; in a pod that of the container's image, which holds `models/tiny-sdxl`. Left out, another field says where.",
              example: 'models/tiny-sdxl',
            },
            claim: {
              type: 'object',
              description: 'A claim that holds the model, mounted read only in every pod. Left out, another field says where.',
              required: ['name'],
              properties: {
                name: {
                  type: 'string',
                  minLength: 1,
                  maxLength: 253,
                  pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
                  description: "Name of the PersistentVolumeClaim, in the job's namespace.",
                  example: 'pictures',
                },
                path: {
                  type: 'string',
                  maxLength: 1024,
                  pattern: '^([^/\\x00-\\x1f\\x7f]+(/[^/\\x00-\\x1f\\x7f]+)*)?$',
                  default: '',
                  description: 'Directory or `.safetensors` file of the model below the root of the claim; empty for the root itself.',
                  example: 'sdxl-base',
                },
              },
            },
            image: {
              type: 'object',
              description:
                'An OCI image that holds the model, mounted as a volume of type image (Kubernetes 1.33 and newer, or the feature gate ImageVolume). Left out, another field says where.',
              required: ['reference'],
              properties: {
                reference: {
                  type: 'string',
                  minLength: 1,
                  maxLength: 1024,
                  pattern: '^[a-z0-9A-Z][-a-zA-Z0-9._/:@]*$',
                  description: 'Reference of the image, with a tag or a digest.',
                  example: 'registry.example.com/models/sdxl-base:1.0',
                },
                pullPolicy: {
                  type: 'string',
                  enum: ['IfNotPresent', 'Always', 'Never'],
                  maxLength: 32,
                  default: 'IfNotPresent',
                  description: 'When the image is pulled.',
                },
                path: {
                  type: 'string',
                  maxLength: 1024,
                  pattern: '^([^/\\x00-\\x1f\\x7f]+(/[^/\\x00-\\x1f\\x7f]+)*)?$',
                  default: '',
                  description: 'Directory or `.safetensors` file of the model below the root of the image; empty for the root itself.',
                  example: 'sdxl-base',
                },
              },
            },
            huggingFace: {
              type: 'object',
              description:
                'A repository of the Hugging Face Hub, fetched once into the cache claim by an init container. Needs cache. Left out, another field says where.',
              required: ['repo'],
              properties: {
                repo: {
                  type: 'string',
                  minLength: 3,
                  maxLength: 200,
                  pattern: '^[A-Za-z0-9][-A-Za-z0-9._]*/[A-Za-z0-9][-A-Za-z0-9._]*$',
                  description: 'The repository, owner and name.',
                  example: 'stabilityai/stable-diffusion-xl-base-1.0',
                },
                revision: {
                  type: 'string',
                  minLength: 1,
                  maxLength: 200,
                  pattern: '^[A-Za-z0-9][-A-Za-z0-9._/]*$',
                  default: 'main',
                  description: 'Branch, tag or commit. A commit makes the job repeatable.',
                },
                endpoint: {
                  type: 'string',
                  maxLength: 1024,
                  pattern: '^https?://[^\\s]+$',
                  default: 'https://huggingface.co',
                  description: 'Where the Hub, or a mirror of it, is served.',
                },
                tokenSecret: {
                  type: 'object',
                  description: "A Secret's key that holds an access token. Left out, the repository is read without one.",
                  required: ['name'],
                  properties: {
                    name: {
                      type: 'string',
                      minLength: 1,
                      maxLength: 253,
                      pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
                      description: "Name of the Secret, in the job's namespace.",
                      example: 'hugging-face',
                    },
                    key: {
                      type: 'string',
                      minLength: 1,
                      maxLength: 253,
                      pattern: '^[-._a-zA-Z0-9]+$',
                      default: 'token',
                      description: 'Key within the Secret.',
                    },
                  },
                },
              },
            },
            s3: {
              type: 'object',
              description:
                'A model in diffusers layout in a bucket of object storage that speaks S3, fetched once into the cache claim by an init container. Needs cache. Left out, another field says where.',
              required: ['bucket'],
              properties: {
                bucket: {
                  type: 'string',
                  minLength: 3,
                  maxLength: 63,
                  pattern: '^[a-z0-9][-.a-z0-9]*[a-z0-9]$',
                  description: 'Name of the bucket, without `s3://`.',
                  example: 'models',
                },
                prefix: {
                  type: 'string',
                  maxLength: 512,
                  pattern: '^([^/\\x00-\\x1f\\x7f]+(/[^/\\x00-\\x1f\\x7f]+)*)?$',
                  default: '',
                  description:
                    'What the keys of the model begin with, `unet/` and so on following behind a `/`. Empty, they stand at the root of the bucket.',
                  example: 'sdxl-base',
                },
                endpoint: {
                  type: 'string',
                  maxLength: 1024,
                  pattern: '^https?://[^\\s]+$',
                  description:
                    "Where another server than Amazon's speaks S3; buckets are addressed as parts of its path. Left out, the region's endpoint of Amazon S3.",
                  example: 'https://s3.example.com',
                },
                region: {
                  type: 'string',
                  minLength: 1,
                  maxLength: 63,
                  pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
                  description:
                    "Region of the bucket. Left out, `AWS_REGION` of the pods, else `us-east-1`, from where Amazon S3 leads to the bucket's own.",
                  example: 'eu-central-1',
                },
                credentialsSecret: {
                  type: 'object',
                  description:
                    'A Secret with the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN` where they need one. Left out, the identity that the pods have is used: that of their service account (pods.serviceAccountName) or of their node.',
                  required: ['name'],
                  properties: {
                    name: {
                      type: 'string',
                      minLength: 1,
                      maxLength: 253,
                      pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
                      description: "Name of the Secret, in the job's namespace.",
                      example: 'object-storage',
                    },
                  },
                },
              },
            },
            variant: {
              type: 'string',
              minLength: 1,
              maxLength: 63,
              pattern: '^[A-Za-z0-9][A-Za-z0-9_-]*$',
              description:
                'Which weight files of a diffusers directory to read: `fp16` reads `*.fp16.safetensors`. A component that lacks the variant is read plain. Left out, plain files are read, or the variant where a component has only one.',
              example: 'fp16',
            },
            tokenizer: {
              type: 'string',
              minLength: 1,
              maxLength: 4096,
              pattern: '^[^\\x00-\\x1f\\x7f]+$',
              description:
                'Directory that holds `tokenizer/` and `tokenizer_2/`, for a single-file model, which has none; that of any SDXL model in diffusers layout serves. A relative path is resolved as that of the model; in a cluster, against the root of the claim or image that holds it. Left out, configFrom has them.',
              example: 'sdxl-base',
            },
            configFrom: {
              type: 'string',
              minLength: 1,
              maxLength: 4096,
              pattern: '^[^\\x00-\\x1f\\x7f]+$',
              description:
                'Diffusers directory whose configs a single-file model has, where it is of another architecture or schedule than SDXL base. Resolved as tokenizer. Left out, the configs are those published with SDXL base.',
            },
            loras: {
              type: 'array',
              maxItems: 16,
              description:
                "LoRA adapters, merged into the weights when they are loaded, in this order. Keys of kohya's scripts, PEFT and diffusers are known; what does not fit the model is refused by name. Left out, none.",
              items: {
                type: 'object',
                required: ['path'],
                properties: {
                  path: {
                    type: 'string',
                    maxLength: 4096,
                    pattern: '^([^\\x00-\\x1f\\x7f]*/)?[^/\\x00-\\x1f\\x7f]+\\.safetensors$',
                    description: "The adapter's file. A relative path is resolved as tokenizer.",
                    example: 'loras/watercolour.safetensors',
                  },
                  weight: {
                    type: 'string',
                    maxLength: 8,
                    pattern: '^-?[0-9]{1,2}(\\.[0-9]{1,4})?$',
                    default: '1.0',
                    description: 'How much of the adapter, a decimal number from -99.9999 to 99.9999 written as a string.',
                    example: '0.8',
                  },
                },
              },
            },
          },
        },
        prompt: {
          type: 'string',
          maxLength: 4096,
          description:
            'What the images show, whatever the model makes of no words where it is empty. Given to both text encoders. Left out, prompts says it; exactly one of the two is given.',
          example: 'flowers, rabbit',
        },
        prompts: {
          type: 'array',
          maxItems: 1000,
          description:
            'Several prompts, numImages images of each: image i is of prompt i / numImages, rounded down. What a prompt does not say is as in the job. In a cluster ranks find the job in a ConfigMap, which holds 1 MiB at most. Left out, there is the one prompt.',
          items: {
            type: 'object',
            required: ['prompt'],
            properties: {
              prompt: {
                type: 'string',
                maxLength: 4096,
                description: 'What its images show; may be empty.',
                example: 'flowers, rabbit',
              },
              prompt2: {
                type: 'string',
                minLength: 1,
                maxLength: 4096,
                description: "What the second text encoder is told instead. Left out, the job's, or prompt where it has none.",
              },
              negativePrompt: {
                type: 'string',
                maxLength: 4096,
                description: 'What its images must not show. Left out, as in the job.',
              },
              negativePrompt2: {
                type: 'string',
                minLength: 1,
                maxLength: 4096,
                description:
                  "What the second text encoder is told instead of negativePrompt. Left out, the job's, or negativePrompt where it has none.",
              },
              seed: {
                type: 'integer',
                format: 'int64',
                minimum: 0,
                maximum: 9007199254740991,
                description:
                  "Seed of its first image; the next ones count on from it. Left out, image i of the job has the job's seed + i.",
                example: 233,
              },
              height: {
                type: 'integer',
                format: 'int32',
                minimum: 64,
                maximum: 4096,
                multipleOf: 8,
                description: "Height of its images in pixels, by the same rules as the job's. Left out, as in the job.",
              },
              width: {
                type: 'integer',
                format: 'int32',
                minimum: 64,
                maximum: 4096,
                multipleOf: 8,
                description: 'Width of its images in pixels. Left out, as in the job.',
              },
              numInferenceSteps: {
                type: 'integer',
                format: 'int32',
                minimum: 1,
                maximum: 1000,
                description: 'Denoising steps of its images. Left out, as in the job.',
              },
              guidanceScale: {
                type: 'string',
                maxLength: 7,
                pattern: '^[0-9]{1,2}(\\.[0-9]{1,4})?$',
                description:
                  "Weight of classifier-free guidance of its images, a decimal number from 0 to 99.9999 written as a string. Above 1 where the job's is, up to 1 where the job's is not. Left out, as in the job.",
                example: '7.5',
              },
            },
          },
        },
        prompt2: {
          type: 'string',
          minLength: 1,
          maxLength: 4096,
          description: 'What the second text encoder is told instead of prompt. Left out, it is told the same.',
          example: 'oil painting',
        },
        negativePrompt: {
          type: 'string',
          maxLength: 4096,
          description:
            "What the images must not show. Left out, guidance starts from the model's unconditional embedding, zeros where its `model_index.json` has `force_zeros_for_empty_prompt`; an empty text is encoded like any other. Needs guidanceScale above 1.",
        },
        negativePrompt2: {
          type: 'string',
          minLength: 1,
          maxLength: 4096,
          description: 'What the second text encoder is told instead of negativePrompt, which it needs. Left out, it is told the same.',
        },
        promptSyntax: {
          type: 'string',
          enum: ['Plain', 'Weighted'],
          maxLength: 32,
          default: 'Plain',
          description:
            "How prompts are read. `Plain` is text, of which 75 tokens count, as in diffusers' pipeline. `Weighted` is the syntax of the AUTOMATIC1111 web UI, `(text:1.3)`, `((text))`, `[text]`, `\\(` and `BREAK`, and prompts of any length, as in diffusers' community pipeline for long weighted prompts (see docs/prompts.md).",
        },
        clipSkip: {
          type: 'integer',
          format: 'int32',
          minimum: 0,
          maximum: 11,
          default: 0,
          description:
            'How many layers of both text encoders to leave out at their end, beyond the last one, which SDXL never uses. Counts as `clip_skip` does in diffusers: the negative and the pooled prompt are those of all layers. At most one less than the smaller encoder has layers, 11 for SDXL base.',
        },
        height: {
          type: 'integer',
          format: 'int32',
          minimum: 64,
          maximum: 4096,
          multipleOf: 8,
          default: 1024,
          description:
            'Height of each image in pixels. A multiple of 8; with patchDegree above 1 of 32 x patchDegree, so that every rank has equally many rows at each level of the UNet; else with cfgDegree 2 of 16. SDXL was trained on multiples of 64.',
        },
        width: {
          type: 'integer',
          format: 'int32',
          minimum: 64,
          maximum: 4096,
          multipleOf: 8,
          default: 1024,
          description: 'Width of each image in pixels. A multiple of 8.',
        },
        originalSize: {
          type: 'object',
          required: ['height', 'width'],
          description:
            "Size that a training picture is said to have had before it was scaled to targetSize; a small one makes images look scaled up (Podell et al. 2023, section 2.2). Left out, the image's own.",
          properties: {
            height: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 16384,
              description: 'Pixels.',
              example: 1024,
            },
            width: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 16384,
              description: 'Pixels.',
              example: 1024,
            },
          },
        },
        cropsCoordsTopLeft: {
          type: 'object',
          required: ['top', 'left'],
          description: 'Where a training picture is said to have been cropped; 0, 0 makes well-centred images. Left out, 0 and 0.',
          properties: {
            top: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              maximum: 16384,
              description: 'Rows above the crop.',
              example: 0,
            },
            left: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              maximum: 16384,
              description: 'Columns left of the crop.',
              example: 0,
            },
          },
        },
        targetSize: {
          type: 'object',
          required: ['height', 'width'],
          description: "Size that a training picture is said to have been scaled to. Left out, the image's own.",
          properties: {
            height: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 16384,
              description: 'Pixels.',
              example: 1024,
            },
            width: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 16384,
              description: 'Pixels.',
              example: 1024,
            },
          },
        },
        negativeOriginalSize: {
          type: 'object',
          required: ['height', 'width'],
          description:
            'The originalSize that images must not look like. Needs negativeTargetSize and guidanceScale above 1. Left out, the negative branch has the sizes of the other one.',
          properties: {
            height: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 16384,
              description: 'Pixels.',
              example: 1024,
            },
            width: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 16384,
              description: 'Pixels.',
              example: 1024,
            },
          },
        },
        negativeCropsCoordsTopLeft: {
          type: 'object',
          required: ['top', 'left'],
          description:
            'The cropsCoordsTopLeft that images must not look like. Needs negativeOriginalSize and negativeTargetSize. Left out, 0 and 0 where these two are given.',
          properties: {
            top: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              maximum: 16384,
              description: 'Rows above the crop.',
              example: 0,
            },
            left: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              maximum: 16384,
              description: 'Columns left of the crop.',
              example: 0,
            },
          },
        },
        negativeTargetSize: {
          type: 'object',
          required: ['height', 'width'],
          description:
            'The targetSize that images must not look like. Needs negativeOriginalSize. Left out, the negative branch has the sizes of the other one.',
          properties: {
            height: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 16384,
              description: 'Pixels.',
              example: 1024,
            },
            width: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 16384,
              description: 'Pixels.',
              example: 1024,
            },
          },
        },
        numImages: {
          type: 'integer',
          format: 'int32',
          minimum: 1,
          maximum: 10000,
          default: 1,
          description:
            'How many images to make of each prompt. Image i of the job (from 0) uses seed + i, so its pixels depend on neither the others nor their number.',
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
        guidanceRescale: {
          type: 'string',
          maxLength: 6,
          pattern: '^(0(\\.[0-9]{1,4})?|1(\\.0{1,4})?)$',
          default: '0.0',
          description:
            'How far guided predictions are scaled back to the spread of the conditional ones, a decimal number from 0 to 1 written as a string (Lin et al. 2023, section 3.4). It keeps models trained with zero terminal SNR from overexposure, usually with 0.7. Above 0 it needs guidanceScale above 1.',
          example: '0.7',
        },
        scheduler: {
          type: 'string',
          enum: [
            'Auto',
            'EulerDiscrete',
            'EulerAncestralDiscrete',
            'DDIM',
            'DPMSolverMultistep',
            'UniPCMultistep',
            'LCM',
            'DDPM',
            'DEISMultistep',
            'DPMSolverSinglestep',
            'HeunDiscrete',
            'KDPM2Discrete',
            'KDPM2AncestralDiscrete',
            'LMSDiscrete',
            'PNDM',
            'TCD',
          ],
          maxLength: 32,
          default: 'Auto',
          description:
            "The sampler, by the name of its class in diffusers. `Auto` is the one that the model's `scheduler/scheduler_config.json` names. Another one takes that file's fields as far as it has them, and its own defaults where the file says nothing, as `from_config` does in diffusers.",
        },
        schedulerOptions: {
          type: 'object',
          description:
            'Fields of `scheduler_config.json` to take from here instead, with the meaning they have there, and eta. One that the sampler does not read is refused. Left out, as each of its fields, the file decides.',
          properties: {
            timestepSpacing: {
              type: 'string',
              enum: ['Leading', 'Trailing', 'Linspace'],
              maxLength: 32,
              description:
                'How the steps are spread over the training schedule. Models distilled to few steps need `Trailing`. Left out, as in the file.',
            },
            stepsOffset: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              maximum: 1000,
              description: 'What is added to the timesteps of the leading spacing. Left out, as in the file.',
            },
            predictionType: {
              type: 'string',
              enum: ['Epsilon', 'VPrediction', 'Sample'],
              maxLength: 32,
              description: 'What the model predicts, which is how it was trained and no matter of taste. Left out, as in the file.',
            },
            rescaleBetasZeroSnr: {
              type: 'boolean',
              description:
                'Whether the training schedule ends in pure noise, which is how the model was trained. Left out, as in the file.',
            },
            useKarrasSigmas: {
              type: 'boolean',
              description:
                'Whether noise levels are those of Karras et al. 2022. Not for EulerAncestralDiscrete, DDIM, DDPM, LCM, PNDM and TCD. Left out, as in the file.',
            },
            useExponentialSigmas: {
              type: 'boolean',
              description:
                "Whether the logarithms of noise levels are equally far apart, not together with Karras'. Not for EulerAncestralDiscrete, DDIM, DDPM, LCM, PNDM and TCD. Left out, as in the file.",
            },
            finalSigmasType: {
              type: 'string',
              enum: ['Zero', 'SigmaMin'],
              maxLength: 32,
              description:
                "Whether the last step removes all noise, or all but the training schedule's least. For EulerDiscrete, both DPMSolvers and UniPCMultistep. Left out, as in the file.",
            },
            algorithmType: {
              type: 'string',
              enum: ['DPMSolverPlusPlus', 'SdeDPMSolverPlusPlus'],
              maxLength: 32,
              description:
                'Whether a DPMSolver follows the ordinary differential equation or the stochastic one, with new noise in each step. Left out, as in the file.',
            },
            solverType: {
              type: 'string',
              enum: ['Midpoint', 'Heun', 'Bh1', 'Bh2'],
              maxLength: 32,
              description:
                'The second-order variant, `Midpoint` or `Heun` of a DPMSolver, `Bh1` or `Bh2` of UniPCMultistep. Left out, as in the file.',
            },
            solverOrder: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 3,
              description:
                'How many predictions a step of a DPMSolver, DEISMultistep or UniPCMultistep combines. 2 suits guidance; the stochastic variant has no 3. Left out, as in the file.',
            },
            lowerOrderFinal: {
              type: 'boolean',
              description:
                'Whether the last steps of DPMSolverMultistep and DEISMultistep (below 15 steps), DPMSolverSinglestep and UniPCMultistep are of lower order. Left out, as in the file.',
            },
            eulerAtFinal: {
              type: 'boolean',
              description: "Whether the last step of DPMSolverMultistep is Euler's. Left out, as in the file.",
            },
            setAlphaToOne: {
              type: 'boolean',
              description: 'Whether the last step of DDIM or PNDM removes all noise. Left out, as in the file.',
            },
            eta: {
              type: 'string',
              maxLength: 6,
              pattern: '^(0(\\.[0-9]{1,4})?|1(\\.0{1,4})?)$',
              description:
                "How much of the noise it removes a step adds anew, a decimal number from 0 to 1 written as a string. For DDIM (1 is DDPM) and TCD (gamma in its paper; adapters are made for 0.3, for one step 1.0), where diffusers' pipeline takes it. Left out, 0.",
              example: '0.3',
            },
            skipPrkSteps: {
              type: 'boolean',
              description:
                'Whether PNDM begins without Runge-Kutta steps, which serve no latents; only true is supported. PNDM makes them unless the file or this field says true. Left out, as in the file.',
              'x-kubernetes-validations': [
                {
                  rule: 'self',
                  message: 'skipPrkSteps false is not supported, because Runge-Kutta steps serve no latents: give true',
                },
              ],
            },
            clipSample: {
              type: 'boolean',
              description:
                'Whether DDIM, DDPM, HeunDiscrete, LCM and TCD clip predicted images to -1 to 1, which suits no latents; only false is supported. DDIM and DDPM clip unless the file or this field says false. Left out, as in the file.',
              'x-kubernetes-validations': [
                {
                  rule: '!self',
                  message: 'clipSample true is not supported, because it destroys latents: give false',
                },
              ],
            },
            originalInferenceSteps: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 1000,
              description:
                'The number of steps that a model was distilled from with LCM or TCD, the most it can make. Left out, as in the file.',
            },
          },
        },
        parallelism: {
          type: 'object',
          default: {},
          description:
            'How the images are spread over ranks. The job has dataDegree x cfgDegree x patchDegree ranks, each on its own device (or its share of the processors); with mesh Auto it has as many as ranks says.',
          properties: {
            mesh: {
              type: 'string',
              enum: ['Explicit', 'Auto'],
              maxLength: 32,
              default: 'Explicit',
              description:
                '`Explicit`: the mesh is dataDegree x cfgDegree x patchDegree. `Auto`: it is chosen for the number of ranks from the number of images, guidance, size and backend, for the least time of the whole job; `sdxl inspect --mesh -f FILE` shows the choice and why.',
            },
            ranks: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 64,
              description: 'Number of ranks with mesh `Auto`, which needs it. Left out, the degrees say it.',
              example: 8,
            },
            dataDegree: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 64,
              default: 1,
              description:
                "Number of images made at once, each by cfgDegree x patchDegree ranks of its own, which take the next image as soon as they have finished one. An image's pixels do not depend on it. At most numImages.",
              example: 4,
            },
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
                'Number of horizontal stripes an image is cut into, one for each rank. Above 1, height must be a multiple of 32 x patchDegree.',
              example: 2,
            },
            ranksPerPod: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 64,
              description:
                'Ranks of each pod. There are as many pods as ranks / ranksPerPod, which start and end together. Left out, all ranks share one pod.',
              example: 8,
            },
            mode: {
              type: 'string',
              enum: ['Synchronous', 'SyncGn', 'CorrectedAsyncGn', 'StaleGn', 'SeparateGn', 'NoSync'],
              maxLength: 32,
              default: 'Synchronous',
              description:
                "When stripes learn of their neighbours' activations. `Synchronous`: in every layer of every step, so that the images equal those of one rank. The others displace: after the warm-up a step uses the neighbours' activations of the step before, which travel while it computes, so the images differ a little. They treat the statistics of GroupNorm differently: `SyncGn` waits for the fresh ones, `CorrectedAsyncGn` moves the old ones by this rank's own change, `StaleGn` takes the neighbours' old ones, `SeparateGn` only its own. `NoSync` is `SeparateGn` without any exchange after the warm-up. All but `Synchronous` need patchDegree above 1.",
              example: 'CorrectedAsyncGn',
            },
            warmupSteps: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              maximum: 1000,
              default: 4,
              description:
                'Steps counted from 0 up to and including this one are synchronous in every mode, so 4 makes five of them. Without effect with mode `Synchronous`.',
            },
          },
        },
        backend: {
          type: 'string',
          enum: ['Auto', 'Onnx', 'Cuda'],
          maxLength: 32,
          default: 'Auto',
          description:
            "What executes the model; the same on every rank. `Cuda`: NVIDIA's libraries and own kernels on one GPU a rank. `Onnx`: ONNX Runtime on the processor. `Auto`: `Cuda` where there is an NVIDIA device, else `Onnx`.",
        },
        dtype: {
          type: 'string',
          enum: ['Auto', 'Float32', 'Float16'],
          maxLength: 32,
          default: 'Auto',
          description:
            "Type of weights and activations while computing, whatever the files hold; sums are in Float32 everywhere. `Auto`: the backend's own, `Float32` for `Onnx` and `Float16` for `Cuda` (bfloat16 in a VAE whose config asks for more range).",
        },
        output: {
          type: 'object',
          default: {},
          description: 'Where the images go.',
          'x-kubernetes-validations': [
            {
              rule: '!has(self.claim) || !has(self.size) && !has(self.storageClassName)',
              message: 'size and storageClassName are those of a claim the operator makes, and claim names one that exists: remove either',
            },
            {
              rule: '!has(self.s3) || !has(self.claim) && !has(self.size) && !has(self.storageClassName)',
              message: 'images go to a claim or to s3: with s3 remove claim, size and storageClassName, or remove s3',
            },
          ],
          properties: {
            path: {
              type: 'string',
              maxLength: 4096,
              pattern: '^([^\\x00-\\x1f\\x7f]*/)?[^/\\x00-\\x1f\\x7f]+\\.png$',
              'x-kubernetes-validations': [
                {
                  rule: '!self.contains("://")',
                  message:
                    'an address is no path of a file: for object storage give s3 with bucket and prefix, on the command line --output s3://bucket/prefix/name.png',
                },
              ],
              default: 'output.png',
              description:
                'PNG file the image is written to, whole or not at all, with a JSON file of its parameters and latencies beside it. With numImages above 1 image i goes to `<name>-<i>.png`, i from 0. A relative path is resolved against the working directory, as that of the model; in a cluster, against the root of the claim; with s3, below its prefix.',
              example: 'output.png',
            },
            claim: {
              type: 'object',
              description:
                'The claim that images are written to. Left out, the operator makes the claim `<name>-output`, which is deleted with the job.',
              required: ['name'],
              properties: {
                name: {
                  type: 'string',
                  minLength: 1,
                  maxLength: 253,
                  pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
                  description: "Name of the PersistentVolumeClaim, in the job's namespace.",
                  example: 'pictures',
                },
              },
            },
            size: {
              type: 'string',
              maxLength: 32,
              pattern: '^[1-9][0-9]*(Mi|Gi|Ti)$',
              description: 'Size of the claim that the operator makes. Left out, `1Gi`.',
              example: '10Gi',
            },
            storageClassName: {
              type: 'string',
              minLength: 1,
              maxLength: 253,
              pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
              description: "Storage class of the claim that the operator makes. Left out, the cluster's default.",
              example: 'standard',
            },
            s3: {
              type: 'object',
              description:
                'A bucket of object storage that speaks S3, to which each image and its JSON file are uploaded when the image is made; until that is acknowledged they stay in the cache. Left out, images go to a claim, or on the command line to a file.',
              required: ['bucket'],
              properties: {
                bucket: {
                  type: 'string',
                  minLength: 3,
                  maxLength: 63,
                  pattern: '^[a-z0-9][-.a-z0-9]*[a-z0-9]$',
                  description: 'Name of the bucket, without `s3://`.',
                  example: 'pictures',
                },
                prefix: {
                  type: 'string',
                  maxLength: 512,
                  pattern: '^([^/\\x00-\\x1f\\x7f]+(/[^/\\x00-\\x1f\\x7f]+)*)?$',
                  default: '',
                  description: 'What the keys of the images begin with, path following behind a `/`. Empty, path is the key.',
                  example: 'flowers',
                },
                endpoint: {
                  type: 'string',
                  maxLength: 1024,
                  pattern: '^https?://[^\\s]+$',
                  description:
                    "Where another server than Amazon's speaks S3; buckets are addressed as parts of its path. Left out, the region's endpoint of Amazon S3.",
                  example: 'https://s3.example.com',
                },
                region: {
                  type: 'string',
                  minLength: 1,
                  maxLength: 63,
                  pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
                  description:
                    "Region of the bucket. Left out, `AWS_REGION` of the pods, else `us-east-1`, from where Amazon S3 leads to the bucket's own.",
                  example: 'eu-central-1',
                },
                credentialsSecret: {
                  type: 'object',
                  description:
                    'A Secret with the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN` where they need one. Left out, the identity that the pods have is used: that of their service account (pods.serviceAccountName) or of their node.',
                  required: ['name'],
                  properties: {
                    name: {
                      type: 'string',
                      minLength: 1,
                      maxLength: 253,
                      pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
                      description: "Name of the Secret, in the job's namespace.",
                      example: 'object-storage',
                    },
                  },
                },
              },
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
        suspend: {
          type: 'boolean',
          default: false,
          description:
            'Ends the gang and holds the job until it is false again; then a new attempt goes on from the images that are complete. May be changed at any time.',
        },
        ttlSecondsAfterFinished: {
          type: 'integer',
          format: 'int32',
          minimum: 0,
          maximum: 315360000,
          description:
            'How long after its end the job is deleted, and with it everything it owns. May be changed at any time. Left out, it is kept. Not for jobs under GitOps, which would make a deleted job anew.',
        },
        activeDeadlineSeconds: {
          type: 'integer',
          format: 'int32',
          minimum: 1,
          maximum: 315360000,
          description: 'How long the job may take, restarts included, from its start or its last resumption. Left out, there is no limit.',
        },
        failurePolicy: {
          type: 'object',
          default: {},
          description:
            'When a gang that failed is started again. A failure that the same input would repeat is final at once; the exit codes of `sdxl` tell which.',
          properties: {
            maxRestarts: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              maximum: 1000,
              default: 3,
              description: 'How often the gang is started again after a rank failed.',
            },
            maxDisruptions: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              maximum: 1000,
              default: 20,
              description: 'How often the gang is started again after the cluster took a pod away (eviction, preemption, a lost node).',
            },
            backoffSeconds: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              maximum: 3600,
              default: 5,
              description:
                'Wait before the first restart after a failure; it doubles with each, up to five minutes. Disruptions wait for nothing.',
            },
          },
        },
        cleanPodPolicy: {
          type: 'string',
          enum: ['None', 'All'],
          maxLength: 32,
          default: 'None',
          description:
            "What becomes of the last attempt's pods when the job has ended. `None`: they stay, with their logs. `All`: they are deleted.",
        },
        managedBy: {
          type: 'string',
          minLength: 1,
          maxLength: 253,
          pattern: '^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$',
          description:
            'The controller that cares for this job. Left out, or `sdxl.io/sdxl-operator`, it is this operator, which leaves all others alone.',
          example: 'sdxl.io/sdxl-operator',
        },
        cache: {
          type: 'object',
          description: 'Where engines and fetched models are kept. Left out, each pod has a cache of its own, which goes with it.',
          required: ['claim'],
          properties: {
            claim: {
              type: 'object',
              description: 'The claim, which many jobs may share. Pods on several nodes need one that can be mounted by all.',
              required: ['name'],
              properties: {
                name: {
                  type: 'string',
                  minLength: 1,
                  maxLength: 253,
                  pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
                  description: "Name of the PersistentVolumeClaim, in the job's namespace.",
                  example: 'pictures',
                },
              },
            },
          },
        },
        accelerator: {
          type: 'object',
          description: 'The device of each rank. Left out, ranks compute on the processor.',
          'x-kubernetes-validations': [
            {
              rule: 'has(self.resourceName) != has(self.resourceClaimTemplateName)',
              message: 'exactly one of resourceName and resourceClaimTemplateName must be given, for example resourceName: nvidia.com/gpu',
            },
          ],
          properties: {
            resourceName: {
              type: 'string',
              minLength: 1,
              maxLength: 316,
              pattern: '^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$',
              description:
                'Extended resource of which each rank gets one, a MIG profile such as `nvidia.com/mig-3g.20gb` included. Left out, devices come by the claim template.',
              example: 'nvidia.com/gpu',
            },
            resourceClaimTemplateName: {
              type: 'string',
              minLength: 1,
              maxLength: 253,
              pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
              description:
                'ResourceClaimTemplate (dynamic resource allocation) from which each pod gets a claim; it must ask for ranksPerPod devices. Left out, devices come by resourceName.',
              example: 'gpus',
            },
          },
        },
        network: {
          type: 'object',
          description: "A network device for each pod, such as an RDMA adapter. Left out, pods have the cluster's network alone.",
          required: ['resourceName'],
          properties: {
            resourceName: {
              type: 'string',
              minLength: 1,
              maxLength: 316,
              pattern: '^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$',
              description: 'Extended resource of the device.',
              example: 'rdma/hca_shared_devices',
            },
            count: {
              type: 'integer',
              format: 'int32',
              minimum: 1,
              maximum: 64,
              default: 1,
              description: 'How many each pod gets.',
            },
          },
        },
        scheduling: {
          type: 'object',
          description:
            "Which scheduler places the gang, and how. May be changed while the job is suspended. Left out, the cluster's default scheduler places pods one by one.",
          properties: {
            queueName: {
              type: 'string',
              minLength: 1,
              maxLength: 63,
              pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
              description: "Kueue's LocalQueue. The child Job is made suspended and Kueue starts it. Left out, no queue.",
              example: 'gpus',
            },
            gang: {
              type: 'string',
              enum: ['None', 'Coscheduling', 'Volcano'],
              maxLength: 32,
              default: 'None',
              description:
                'Whose PodGroup lets pods be placed all or none: that of the scheduler plugin Coscheduling or of Volcano, which must be installed. `None`: pods are placed one by one.',
            },
            schedulerName: {
              type: 'string',
              minLength: 1,
              maxLength: 253,
              pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
              description: "Scheduler of the pods. Left out, `volcano` for gang `Volcano`, else the cluster's default.",
              example: 'scheduler-plugins-scheduler',
            },
            priorityClassName: {
              type: 'string',
              minLength: 1,
              maxLength: 253,
              pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
              description: "PriorityClass of the pods. Left out, the cluster's default.",
              example: 'batch',
            },
            topology: {
              type: 'object',
              description: "Keeps the gang's pods close to each other. Left out, they may be anywhere.",
              required: ['key'],
              properties: {
                key: {
                  type: 'string',
                  minLength: 1,
                  maxLength: 316,
                  pattern: '^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$',
                  description: "Label of nodes whose value the gang's pods shall share.",
                  example: 'topology.kubernetes.io/zone',
                },
                policy: {
                  type: 'string',
                  enum: ['Required', 'Preferred'],
                  maxLength: 32,
                  default: 'Required',
                  description: 'Whether pods wait for such nodes, or take others where there are none.',
                },
              },
            },
          },
        },
        pods: {
          type: 'object',
          default: {},
          description: "What the job's pods have besides what the operator gives them.",
          properties: {
            image: {
              type: 'string',
              minLength: 1,
              maxLength: 1024,
              pattern: '^[a-z0-9A-Z][-a-zA-Z0-9._/:@]*$',
              description: "Image of the ranks. Left out, the operator's own choice, of its version.",
              example: 'ghcr.io/sdxl-operator/runtime-cpu:0.1.0',
            },
            imagePullPolicy: {
              type: 'string',
              enum: ['IfNotPresent', 'Always', 'Never'],
              maxLength: 32,
              default: 'IfNotPresent',
              description: 'When the image is pulled.',
            },
            imagePullSecrets: {
              type: 'array',
              maxItems: 8,
              'x-kubernetes-list-type': 'atomic',
              description: "Names of Secrets with credentials for registries. Left out, none but the service account's.",
              items: {
                type: 'string',
                minLength: 1,
                maxLength: 253,
                pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
                description: "Name of a Secret, in the job's namespace.",
                example: 'registry',
              },
            },
            serviceAccountName: {
              type: 'string',
              minLength: 1,
              maxLength: 253,
              pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
              description: "Service account of the pods, whose token is not mounted. Left out, the namespace's default.",
              example: 'sdxl',
            },
            runtimeClassName: {
              type: 'string',
              minLength: 1,
              maxLength: 253,
              pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
              description: "RuntimeClass of the pods. Left out, the cluster's default.",
              example: 'nvidia',
            },
            labels: {
              type: 'object',
              maxProperties: 16,
              description:
                "Further labels of the pods. Those of `sdxl.io/`, `batch.kubernetes.io/` and `app.kubernetes.io/` are the operator's, `job-name` and `controller-uid` Kubernetes'. Left out, none.",
              'x-kubernetes-validations': [
                {
                  rule: "self.all(key, !key.startsWith('sdxl.io/') && !key.startsWith('batch.kubernetes.io/') && !key.startsWith('app.kubernetes.io/'))",
                  message: 'labels of sdxl.io/, batch.kubernetes.io/ and app.kubernetes.io/ are set by the operator, choose other keys',
                },
                {
                  rule: "self.all(key, !(key in ['job-name', 'controller-uid']))",
                  message: 'job-name and controller-uid are set by Kubernetes, choose other keys',
                },
                {
                  rule: "self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
                  message:
                    'keys are as of every Kubernetes object: letters, digits, "-", "_" and ".", at most 63 of them, perhaps after a domain and "/"',
                },
              ],
              additionalProperties: {
                type: 'string',
                maxLength: 63,
                pattern: '^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$',
              },
            },
            annotations: {
              type: 'object',
              maxProperties: 16,
              description: 'Annotations of the pods. Left out, none.',
              'x-kubernetes-validations': [
                {
                  rule: "self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
                  message:
                    'keys are as of every Kubernetes object: letters, digits, "-", "_" and ".", at most 63 of them, perhaps after a domain and "/"',
                },
              ],
              additionalProperties: {
                type: 'string',
                maxLength: 4096,
              },
            },
            nodeSelector: {
              type: 'object',
              maxProperties: 16,
              description: 'Labels that nodes must have. Left out, any node will do.',
              'x-kubernetes-validations': [
                {
                  rule: "self.all(key, key.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
                  message:
                    'keys are as of every Kubernetes object: letters, digits, "-", "_" and ".", at most 63 of them, perhaps after a domain and "/"',
                },
              ],
              additionalProperties: {
                type: 'string',
                maxLength: 63,
                pattern: '^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$',
              },
            },
            tolerations: {
              type: 'array',
              maxItems: 16,
              'x-kubernetes-list-type': 'atomic',
              description: 'Taints of nodes that the pods tolerate. Left out, none.',
              items: {
                type: 'object',
                'x-kubernetes-validations': [
                  {
                    rule: "self.operator != 'Exists' || !has(self.value)",
                    message: 'a toleration with operator Exists has no value',
                  },
                  {
                    rule: "has(self.key) || self.operator == 'Exists'",
                    message: 'a toleration without key must have operator Exists',
                  },
                ],
                properties: {
                  key: {
                    type: 'string',
                    minLength: 1,
                    maxLength: 316,
                    pattern: '^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$',
                    description: 'Key of the taint. Left out, every taint is meant.',
                    example: 'nvidia.com/gpu',
                  },
                  operator: {
                    type: 'string',
                    enum: ['Exists', 'Equal'],
                    maxLength: 32,
                    default: 'Equal',
                    description: 'Whether the value counts.',
                  },
                  value: {
                    type: 'string',
                    maxLength: 63,
                    pattern: '^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$',
                    description: 'Value of the taint. Left out, the empty one.',
                  },
                  effect: {
                    type: 'string',
                    enum: ['NoSchedule', 'PreferNoSchedule', 'NoExecute'],
                    maxLength: 32,
                    description: 'Effect of the taint. Left out, every effect is meant.',
                  },
                },
              },
            },
            resources: {
              type: 'object',
              description:
                "Resources of each pod's ranks together, accelerators and network devices excepted. Left out, none are asked for.",
              properties: {
                requests: {
                  type: 'object',
                  maxProperties: 8,
                  description: 'What a node must have free. Left out, what limits say.',
                  additionalProperties: {
                    type: 'string',
                    maxLength: 32,
                    pattern: '^[0-9]+(\\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$',
                    example: '4',
                  },
                },
                limits: {
                  type: 'object',
                  maxProperties: 8,
                  description: 'What may be used at most. Left out, there is no limit.',
                  additionalProperties: {
                    type: 'string',
                    maxLength: 32,
                    pattern: '^[0-9]+(\\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$',
                    example: '16Gi',
                  },
                },
              },
            },
            sharedMemorySize: {
              type: 'string',
              maxLength: 32,
              pattern: '^[1-9][0-9]*(Mi|Gi|Ti)$',
              default: '1Gi',
              description: 'Size of /dev/shm, which counts as memory of the pod as far as it is used.',
            },
            env: {
              type: 'array',
              maxItems: 32,
              'x-kubernetes-list-type': 'map',
              'x-kubernetes-list-map-keys': ['name'],
              description: 'Further environment of the ranks. Left out, none.',
              items: {
                type: 'object',
                required: ['name'],
                'x-kubernetes-validations': [
                  {
                    rule: 'has(self.value) != has(self.secret)',
                    message: 'exactly one of value and secret must be given',
                  },
                  {
                    rule: "!self.name.startsWith('SDXL_') && !(self.name in ['RANK', 'WORLD_SIZE', 'NODE_RANK', 'LOCAL_RANK', 'LOCAL_WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'TERMINATION_LOG', 'JOB_COMPLETION_INDEX'])",
                    message: 'this variable is set by the operator',
                  },
                ],
                properties: {
                  name: {
                    type: 'string',
                    minLength: 1,
                    maxLength: 128,
                    pattern: '^[A-Za-z_][A-Za-z0-9_]*$',
                    description: 'Name of the variable.',
                    example: 'NCCL_DEBUG',
                  },
                  value: {
                    type: 'string',
                    maxLength: 4096,
                    description: 'Its value. Left out, it comes from a Secret.',
                  },
                  secret: {
                    type: 'object',
                    description: "A Secret's key that holds the value. Left out, value says it.",
                    required: ['name', 'key'],
                    properties: {
                      name: {
                        type: 'string',
                        minLength: 1,
                        maxLength: 253,
                        pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$',
                        description: "Name of the Secret, in the job's namespace.",
                        example: 'credentials',
                      },
                      key: {
                        type: 'string',
                        minLength: 1,
                        maxLength: 253,
                        pattern: '^[-._a-zA-Z0-9]+$',
                        description: 'Key within the Secret.',
                        example: 'token',
                      },
                    },
                  },
                },
              },
            },
            runAsUser: {
              type: 'integer',
              format: 'int64',
              minimum: 1,
              maximum: 2147483647,
              description: "User of the ranks' processes, never root. Left out, the image's, 10001.",
              example: 1000,
            },
            fsGroup: {
              type: 'integer',
              format: 'int64',
              minimum: 1,
              maximum: 2147483647,
              default: 10001,
              description: 'Group to which volumes are made writable where their type allows it.',
            },
          },
        },
      },
    },
    status: {
      type: 'object',
      default: {
        observedGeneration: -1,
        phase: 'Pending',
      },
      description: 'What has become of the job. Written by the operator.',
      properties: {
        observedGeneration: {
          type: 'integer',
          format: 'int64',
          description: 'The metadata.generation this status speaks of; -1 until the operator has seen the job.',
        },
        phase: {
          type: 'string',
          enum: ['Pending', 'Suspended', 'Starting', 'Running', 'Restarting', 'Complete', 'Failed', 'Terminating'],
          maxLength: 32,
          description: "The job's state in one word, for people; programs read the conditions.",
        },
        attempt: {
          type: 'integer',
          format: 'int32',
          minimum: 0,
          description: 'The current attempt, from 1. Its Job is `<name>-<attempt>`.',
        },
        restarts: {
          type: 'integer',
          format: 'int32',
          minimum: 0,
          description: 'How often the gang was started again after a failure.',
        },
        disruptions: {
          type: 'integer',
          format: 'int32',
          minimum: 0,
          description: 'How often the gang was started again after the cluster took a pod away.',
        },
        startTime: {
          type: 'string',
          format: 'date-time',
          maxLength: 64,
          description: 'When the job was started, or resumed last.',
        },
        completionTime: {
          type: 'string',
          format: 'date-time',
          maxLength: 64,
          description: 'When the job ended.',
        },
        restartTime: {
          type: 'string',
          format: 'date-time',
          maxLength: 64,
          description: 'When the current attempt may start, after a failure.',
        },
        gang: {
          type: 'object',
          description: "The current attempt's children, by their identity.",
          properties: {
            jobUid: {
              type: 'string',
              maxLength: 64,
              description: "Identity of the attempt's Job, once it is seen.",
            },
            pods: {
              type: 'array',
              maxItems: 64,
              'x-kubernetes-list-type': 'map',
              'x-kubernetes-list-map-keys': ['index'],
              description: "The gang's pods. One that is replaced within an attempt breaks the gang.",
              items: {
                type: 'object',
                required: ['index', 'name', 'uid'],
                properties: {
                  index: {
                    type: 'integer',
                    format: 'int32',
                    minimum: 0,
                    description: 'Completion index of the pod.',
                  },
                  name: {
                    type: 'string',
                    maxLength: 253,
                    description: 'Name of the pod.',
                  },
                  uid: {
                    type: 'string',
                    maxLength: 64,
                    description: 'Identity of the pod.',
                  },
                },
              },
            },
          },
        },
        progress: {
          type: 'object',
          description: 'How far the current attempt is, as rank 0 tells it; renewed at most every five seconds.',
          properties: {
            done: {
              type: 'string',
              maxLength: 16,
              description: 'Share of the denoising steps that are done, in per cent.',
              example: '40%',
            },
            phase: {
              type: 'string',
              maxLength: 32,
              description: 'The phase of the rank that is least far.',
            },
            imagesDone: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              description: 'Images that are complete.',
            },
            step: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              description: 'Denoising step of the current image; once the job is complete, the last step of its last image.',
            },
            latencyP50: {
              type: 'string',
              maxLength: 32,
              description: 'Median time from prompt to file of the images of this attempt.',
              example: '1.234s',
            },
            latencyP95: {
              type: 'string',
              maxLength: 32,
              description: 'The 95th percentile of that time.',
              example: '1.301s',
            },
            time: {
              type: 'string',
              format: 'date-time',
              maxLength: 64,
              description: 'When the ranks told so.',
            },
          },
        },
        lastFailure: {
          type: 'object',
          description: 'What ended the last attempt that did not succeed.',
          properties: {
            attempt: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              description: 'The attempt.',
            },
            pod: {
              type: 'string',
              maxLength: 253,
              description: 'The pod that failed first by itself.',
            },
            rank: {
              type: 'integer',
              format: 'int32',
              minimum: 0,
              description: 'The rank, where it is known.',
            },
            exitCode: {
              type: 'integer',
              format: 'int32',
              description: 'Exit code of the container.',
            },
            code: {
              type: 'string',
              maxLength: 128,
              description: "The error's code, as in docs/cli.md, or the cluster's reason.",
            },
            message: {
              type: 'string',
              maxLength: 4096,
              description: 'What the rank said.',
            },
            time: {
              type: 'string',
              format: 'date-time',
              maxLength: 64,
              description: 'When.',
            },
          },
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
