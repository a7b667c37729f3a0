// Generated from crds/sdxl.io_sdxljobs.yaml by "npm run generate". Do not edit.

/** A job that makes images of one prompt with Stable Diffusion XL, each image on all of the job's ranks at once. */
export interface SdxlJob {
  readonly apiVersion: 'sdxl.io/v1alpha1';
  readonly kind: 'SdxlJob';
  /** Name, namespace, labels and annotations, as of every Kubernetes object. */
  readonly metadata: SdxlJobMetadata;
  /** What to make and how. Immutable, so that every image of a job is made from the same input. */
  readonly spec: SdxlJobSpec;
  /** What has become of the job. Written by the operator. */
  readonly status: SdxlJobStatus;
}

/** Name, namespace, labels and annotations, as of every Kubernetes object. */
export interface SdxlJobMetadata {
  /** Name of the job, at most 40 characters: lower-case letters, digits, `-` and `.`. */
  readonly name?: string;
  /** Prefix of a name the API server makes up when name is left out. */
  readonly generateName?: string;
  /** Namespace of the job in a cluster. */
  readonly namespace?: string;
  /** Labels to select by. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Notes of other programs, 256 KiB in all. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Set by the API server. */
  readonly uid?: string;
  /** Set by the API server. */
  readonly resourceVersion?: string;
  /** Set by the API server. */
  readonly generation?: number;
  /** Set by the API server. */
  readonly creationTimestamp?: string | null;
  /** Set by the API server. */
  readonly deletionTimestamp?: string | null;
  /** Set by the API server. */
  readonly deletionGracePeriodSeconds?: number;
  /** Set by old API servers. */
  readonly selfLink?: string;
  /** Objects this one is deleted with. */
  readonly ownerReferences?: readonly object[];
  /** What must happen before the object is gone. */
  readonly finalizers?: readonly string[];
  /** Set by the API server. */
  readonly managedFields?: readonly object[];
}

/** What to make and how. Immutable, so that every image of a job is made from the same input. */
export interface SdxlJobSpec {
  /** Where the weights come from. */
  readonly model: SdxlJobSpecModel;
  /** What the images show. Given to both text encoders. */
  readonly prompt: string;
  /** What the images must not show. Left out, guidance starts from the model's unconditional embedding, zeros where its `model_index.json` has `force_zeros_for_empty_prompt`; an empty text is encoded like any other. Needs guidanceScale above 1. */
  readonly negativePrompt?: string;
  /** Height of each image in pixels. A multiple of 32 x patchDegree, so that every rank has equally many rows at each level of the UNet. Default: 1024. */
  readonly height: number;
  /** Width of each image in pixels. A multiple of 32. Default: 1024. */
  readonly width: number;
  /** How many images to make. Image i (from 0) uses seed + i, so its pixels depend on neither the others nor their number. Default: 1. */
  readonly numImages: number;
  /** Seed of the first image's noise, which equals that of a torch CPU generator with the same seed. At most 2^53 - 1, the largest integer that every JSON reader keeps exactly; so is seed + numImages - 1. Default: 0. */
  readonly seed: number;
  /** Denoising steps of each image. Default: 50. */
  readonly numInferenceSteps: number;
  /** Weight of classifier-free guidance, a decimal number from 0 to 99.9999 written as a string. Up to 1 guidance is off, and each step computes one branch instead of two. Default: "5.0". */
  readonly guidanceScale: string;
  /** The noise schedule's solver, by the name of its class in diffusers. Its betas and spacing are read from the model's `scheduler/scheduler_config.json`. Default: "EulerDiscrete". */
  readonly scheduler: 'EulerDiscrete';
  /** How one image is spread over ranks. The job has cfgDegree x patchDegree ranks, each on its own device (or its share of the processors). */
  readonly parallelism: SdxlJobSpecParallelism;
  /** What executes the model; the same on every rank. `Onnx`: ONNX Runtime on the processor. `Auto`: `Onnx`, the only one so far. Default: "Auto". */
  readonly backend: 'Auto' | 'Onnx';
  /** Type of weights and activations while computing, whatever the files hold. `Auto`: the backend's own choice, `Float32` for `Onnx`. Default: "Auto". */
  readonly dtype: 'Auto' | 'Float32';
  /** Where the images go. */
  readonly output: SdxlJobSpecOutput;
  /** How long ranks wait for each other at the start, the engine's build included. Then the attempt fails with the missing ranks named. Default: 600. */
  readonly rendezvousTimeoutSeconds: number;
  /** How long a rank may go without finishing a denoising step or another stage of an image. Then it is taken for hung and the attempt fails with that rank named. Default: 600. */
  readonly progressDeadlineSeconds: number;
}

/** Where the weights come from. */
export interface SdxlJobSpecModel {
  /** Directory of a Stable Diffusion XL model in diffusers layout. It holds `model_index.json`, `unet/`, `text_encoder/` and so on, and every rank sees it. A relative path is resolved against the working directory of the process: on the command line the directory `sdxl` was started in, not that of the job's file; in a container its working directory. */
  readonly path: string;
}

/** How one image is spread over ranks. The job has cfgDegree x patchDegree ranks, each on its own device (or its share of the processors). */
export interface SdxlJobSpecParallelism {
  /** 2 computes the conditional and the unconditional branch on different ranks; 1 computes both on each. 2 needs guidanceScale above 1. Default: 1. */
  readonly cfgDegree: number;
  /** Number of horizontal stripes an image is cut into, one for each rank. Height must be a multiple of 32 x patchDegree. Default: 1. */
  readonly patchDegree: number;
  /** When stripes learn of their neighbours' activations. `Synchronous`: in every layer of every step, so that the images equal those of one rank. Default: "Synchronous". */
  readonly mode: 'Synchronous';
}

/** Where the images go. */
export interface SdxlJobSpecOutput {
  /** PNG file the image is written to, whole or not at all, with a JSON file of its parameters and latencies beside it. With numImages above 1 image i goes to `<name>-<i>.png`, i from 0. A relative path is resolved against the working directory, as that of the model. Default: "output.png". */
  readonly path: string;
}

/** What has become of the job. Written by the operator. */
export interface SdxlJobStatus {
  /** The metadata.generation this status speaks of; -1 until the operator has seen the job. */
  readonly observedGeneration?: number;
  /** The job's state by aspect. `Complete` and `Failed` are final, and at most one of them becomes `True`. */
  readonly conditions?: readonly SdxlJobStatusCondition[];
}

export interface SdxlJobStatusCondition {
  /** The aspect, such as `Complete` or `Failed`. */
  readonly type: string;
  /** Whether it holds. */
  readonly status: 'True' | 'False' | 'Unknown';
  /** The metadata.generation this condition speaks of. */
  readonly observedGeneration?: number;
  /** When status last changed. */
  readonly lastTransitionTime: string;
  /** Why, in one CamelCase word for programs. */
  readonly reason: string;
  /** Why, in a sentence for people. */
  readonly message: string;
}
