// Generated from crds/sdxl.io_sdxljobs.yaml by "npm run generate". Do not edit.

/** A job that makes images of one prompt with Stable Diffusion XL, each image on one of the job's ranks or on many at once. */
export interface SdxlJob {
  readonly apiVersion: 'sdxl.io/v1alpha1';
  readonly kind: 'SdxlJob';
  /** Name, namespace, labels and annotations, as of every Kubernetes object. */
  readonly metadata: SdxlJobMetadata;
  /** What to make and how. Immutable but for suspend, ttlSecondsAfterFinished and, while the job is suspended, scheduling, so that every image of a job is made from the same input. */
  readonly spec: SdxlJobSpec;
  /** What has become of the job. Written by the operator. */
  readonly status: SdxlJobStatus;
}

/** Name, namespace, labels and annotations, as of every Kubernetes object. */
export interface SdxlJobMetadata {
  /** Name of the job, at most 40 characters: lower-case letters, digits and `-`. */
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

/** What to make and how. Immutable but for suspend, ttlSecondsAfterFinished and, while the job is suspended, scheduling, so that every image of a job is made from the same input. */
export interface SdxlJobSpec {
  /** Where the weights come from, and what is merged into them. Exactly one of path, claim, image, huggingFace and s3 is given. */
  readonly model: SdxlJobSpecModel;
  /** What the images show, whatever the model makes of no words where it is empty. Given to both text encoders. Left out, prompts says it; exactly one of the two is given. */
  readonly prompt?: string;
  /** Several prompts, numImages images of each: image i is of prompt i / numImages, rounded down. What a prompt does not say is as in the job. In a cluster ranks find the job in a ConfigMap, which holds 1 MiB at most. Left out, there is the one prompt. */
  readonly prompts?: readonly SdxlJobSpecPrompt[];
  /** What the second text encoder is told instead of prompt. Left out, it is told the same. */
  readonly prompt2?: string;
  /** What the images must not show. Left out, guidance starts from the model's unconditional embedding, zeros where its `model_index.json` has `force_zeros_for_empty_prompt`; an empty text is encoded like any other. Needs guidanceScale above 1. */
  readonly negativePrompt?: string;
  /** What the second text encoder is told instead of negativePrompt, which it needs. Left out, it is told the same. */
  readonly negativePrompt2?: string;
  /** How prompts are read. `Plain` is text, of which 75 tokens count, as in diffusers' pipeline. `Weighted` is the syntax of the AUTOMATIC1111 web UI, `(text:1.3)`, `((text))`, `[text]`, `\(` and `BREAK`, and prompts of any length, as in diffusers' community pipeline for long weighted prompts (see docs/prompts.md). Default: "Plain". */
  readonly promptSyntax: 'Plain' | 'Weighted';
  /** How many layers of both text encoders to leave out at their end, beyond the last one, which SDXL never uses. Counts as `clip_skip` does in diffusers: the negative and the pooled prompt are those of all layers. At most one less than the smaller encoder has layers, 11 for SDXL base. Default: 0. */
  readonly clipSkip: number;
  /** Height of each image in pixels. A multiple of 8; with patchDegree above 1 of 32 x patchDegree, so that every rank has equally many rows at each level of the UNet; else with cfgDegree 2 of 16. SDXL was trained on multiples of 64. Default: 1024. */
  readonly height: number;
  /** Width of each image in pixels. A multiple of 8. Default: 1024. */
  readonly width: number;
  /** Size that a training picture is said to have had before it was scaled to targetSize; a small one makes images look scaled up (Podell et al. 2023, section 2.2). Left out, the image's own. */
  readonly originalSize?: SdxlJobSpecOriginalSize;
  /** Where a training picture is said to have been cropped; 0, 0 makes well-centred images. Left out, 0 and 0. */
  readonly cropsCoordsTopLeft?: SdxlJobSpecCropsCoordsTopLeft;
  /** Size that a training picture is said to have been scaled to. Left out, the image's own. */
  readonly targetSize?: SdxlJobSpecTargetSize;
  /** The originalSize that images must not look like. Needs negativeTargetSize and guidanceScale above 1. Left out, the negative branch has the sizes of the other one. */
  readonly negativeOriginalSize?: SdxlJobSpecNegativeOriginalSize;
  /** The cropsCoordsTopLeft that images must not look like. Needs negativeOriginalSize and negativeTargetSize. Left out, 0 and 0 where these two are given. */
  readonly negativeCropsCoordsTopLeft?: SdxlJobSpecNegativeCropsCoordsTopLeft;
  /** The targetSize that images must not look like. Needs negativeOriginalSize. Left out, the negative branch has the sizes of the other one. */
  readonly negativeTargetSize?: SdxlJobSpecNegativeTargetSize;
  /** How many images to make of each prompt. Image i of the job (from 0) uses seed + i, so its pixels depend on neither the others nor their number. Default: 1. */
  readonly numImages: number;
  /** Seed of the first image's noise, which equals that of a torch CPU generator with the same seed. At most 2^53 - 1, the largest integer that every JSON reader keeps exactly; so is seed + numImages - 1. Default: 0. */
  readonly seed: number;
  /** Denoising steps of each image. Default: 50. */
  readonly numInferenceSteps: number;
  /** Weight of classifier-free guidance, a decimal number from 0 to 99.9999 written as a string. Up to 1 guidance is off, and each step computes one branch instead of two. Default: "5.0". */
  readonly guidanceScale: string;
  /** How far guided predictions are scaled back to the spread of the conditional ones, a decimal number from 0 to 1 written as a string (Lin et al. 2023, section 3.4). It keeps models trained with zero terminal SNR from overexposure, usually with 0.7. Above 0 it needs guidanceScale above 1. Default: "0.0". */
  readonly guidanceRescale: string;
  /** The sampler, by the name of its class in diffusers. `Auto` is the one that the model's `scheduler/scheduler_config.json` names. Another one takes that file's fields as far as it has them, and its own defaults where the file says nothing, as `from_config` does in diffusers. Default: "Auto". */
  readonly scheduler:
    | 'Auto'
    | 'EulerDiscrete'
    | 'EulerAncestralDiscrete'
    | 'DDIM'
    | 'DPMSolverMultistep'
    | 'UniPCMultistep'
    | 'LCM'
    | 'DDPM'
    | 'DEISMultistep'
    | 'DPMSolverSinglestep'
    | 'HeunDiscrete'
    | 'KDPM2Discrete'
    | 'KDPM2AncestralDiscrete'
    | 'LMSDiscrete'
    | 'PNDM'
    | 'TCD';
  /** Fields of `scheduler_config.json` to take from here instead, with the meaning they have there, and eta. One that the sampler does not read is refused. Left out, as each of its fields, the file decides. */
  readonly schedulerOptions?: SdxlJobSpecSchedulerOptions;
  /** How the images are spread over ranks. The job has dataDegree x cfgDegree x patchDegree ranks, each on its own device (or its share of the processors); with mesh Auto it has as many as ranks says. */
  readonly parallelism: SdxlJobSpecParallelism;
  /** What executes the model; the same on every rank. `Cuda`: NVIDIA's libraries and own kernels on one GPU a rank. `Onnx`: ONNX Runtime on the processor. `Auto`: `Cuda` where there is an NVIDIA device, else `Onnx`. Default: "Auto". */
  readonly backend: 'Auto' | 'Onnx' | 'Cuda';
  /** Type of weights and activations while computing, whatever the files hold; sums are in Float32 everywhere. `Auto`: the backend's own, `Float32` for `Onnx` and `Float16` for `Cuda` (bfloat16 in a VAE whose config asks for more range). Default: "Auto". */
  readonly dtype: 'Auto' | 'Float32' | 'Float16';
  /** Where the images go. */
  readonly output: SdxlJobSpecOutput;
  /** How long ranks wait for each other at the start, the engine's build included. Then the attempt fails with the missing ranks named. Default: 600. */
  readonly rendezvousTimeoutSeconds: number;
  /** How long a rank may go without finishing a denoising step or another stage of an image. Then it is taken for hung and the attempt fails with that rank named. Default: 600. */
  readonly progressDeadlineSeconds: number;
  /** Ends the gang and holds the job until it is false again; then a new attempt goes on from the images that are complete. May be changed at any time. Default: false. */
  readonly suspend: boolean;
  /** How long after its end the job is deleted, and with it everything it owns. May be changed at any time. Left out, it is kept. Not for jobs under GitOps, which would make a deleted job anew. */
  readonly ttlSecondsAfterFinished?: number;
  /** How long the job may take, restarts included, from its start or its last resumption. Left out, there is no limit. */
  readonly activeDeadlineSeconds?: number;
  /** When a gang that failed is started again. A failure that the same input would repeat is final at once; the exit codes of `sdxl` tell which. */
  readonly failurePolicy: SdxlJobSpecFailurePolicy;
  /** What becomes of the last attempt's pods when the job has ended. `None`: they stay, with their logs. `All`: they are deleted. Default: "None". */
  readonly cleanPodPolicy: 'None' | 'All';
  /** The controller that cares for this job. Left out, or `sdxl.io/sdxl-operator`, it is this operator, which leaves all others alone. */
  readonly managedBy?: string;
  /** Where engines and fetched models are kept. Left out, each pod has a cache of its own, which goes with it. */
  readonly cache?: SdxlJobSpecCache;
  /** The device of each rank. Left out, ranks compute on the processor. */
  readonly accelerator?: SdxlJobSpecAccelerator;
  /** A network device for each pod, such as an RDMA adapter. Left out, pods have the cluster's network alone. */
  readonly network?: SdxlJobSpecNetwork;
  /** Which scheduler places the gang, and how. May be changed while the job is suspended. Left out, the cluster's default scheduler places pods one by one. */
  readonly scheduling?: SdxlJobSpecScheduling;
  /** What the job's pods have besides what the operator gives them. */
  readonly pods: SdxlJobSpecPods;
}

/** Where the weights come from, and what is merged into them. Exactly one of path, claim, image, huggingFace and s3 is given. */
export interface SdxlJobSpecModel {
  /** Directory of a Stable Diffusion XL model in diffusers layout, which holds `model_index.json`, `unet/`, `text_encoder/` and so on; or a checkpoint in the original layout, whose name ends in `.safetensors` (see tokenizer). Every rank sees it. A relative path is resolved against the working directory of the process: on the command line the directory `sdxl` was started in, not that of the job's file; in a pod that of the container's image, which holds `models/tiny-sdxl`. Left out, another field says where. */
  readonly path?: string;
  /** A claim that holds the model, mounted read only in every pod. Left out, another field says where. */
  readonly claim?: SdxlJobSpecModelClaim;
  /** An OCI image that holds the model, mounted as a volume of type image (Kubernetes 1.33 and newer, or the feature gate ImageVolume). Left out, another field says where. */
  readonly image?: SdxlJobSpecModelImage;
  /** A repository of the Hugging Face Hub, fetched once into the cache claim by an init container. Needs cache. Left out, another field says where. */
  readonly huggingFace?: SdxlJobSpecModelHuggingFace;
  /** A model in diffusers layout in a bucket of object storage that speaks S3, fetched once into the cache claim by an init container. Needs cache. Left out, another field says where. */
  readonly s3?: SdxlJobSpecModelS3;
  /** Which weight files of a diffusers directory to read: `fp16` reads `*.fp16.safetensors`. A component that lacks the variant is read plain. Left out, plain files are read, or the variant where a component has only one. */
  readonly variant?: string;
  /** Directory that holds `tokenizer/` and `tokenizer_2/`, for a single-file model, which has none; that of any SDXL model in diffusers layout serves. A relative path is resolved as that of the model; in a cluster, against the root of the claim or image that holds it. Left out, configFrom has them. */
  readonly tokenizer?: string;
  /** Diffusers directory whose configs a single-file model has, where it is of another architecture or schedule than SDXL base. Resolved as tokenizer. Left out, the configs are those published with SDXL base. */
  readonly configFrom?: string;
  /** LoRA adapters, merged into the weights when they are loaded, in this order. Keys of kohya's scripts, PEFT and diffusers are known; what does not fit the model is refused by name. Left out, none. */
  readonly loras?: readonly SdxlJobSpecModelLora[];
}

/** A claim that holds the model, mounted read only in every pod. Left out, another field says where. */
export interface SdxlJobSpecModelClaim {
  /** Name of the PersistentVolumeClaim, in the job's namespace. */
  readonly name: string;
  /** Directory or `.safetensors` file of the model below the root of the claim; empty for the root itself. Default: "". */
  readonly path: string;
}

/** An OCI image that holds the model, mounted as a volume of type image (Kubernetes 1.33 and newer, or the feature gate ImageVolume). Left out, another field says where. */
export interface SdxlJobSpecModelImage {
  /** Reference of the image, with a tag or a digest. */
  readonly reference: string;
  /** When the image is pulled. Default: "IfNotPresent". */
  readonly pullPolicy: 'IfNotPresent' | 'Always' | 'Never';
  /** Directory or `.safetensors` file of the model below the root of the image; empty for the root itself. Default: "". */
  readonly path: string;
}

/** A repository of the Hugging Face Hub, fetched once into the cache claim by an init container. Needs cache. Left out, another field says where. */
export interface SdxlJobSpecModelHuggingFace {
  /** The repository, owner and name. */
  readonly repo: string;
  /** Branch, tag or commit. A commit makes the job repeatable. Default: "main". */
  readonly revision: string;
  /** Where the Hub, or a mirror of it, is served. Default: "https://huggingface.co". */
  readonly endpoint: string;
  /** A Secret's key that holds an access token. Left out, the repository is read without one. */
  readonly tokenSecret?: SdxlJobSpecModelHuggingFaceTokenSecret;
}

/** A Secret's key that holds an access token. Left out, the repository is read without one. */
export interface SdxlJobSpecModelHuggingFaceTokenSecret {
  /** Name of the Secret, in the job's namespace. */
  readonly name: string;
  /** Key within the Secret. Default: "token". */
  readonly key: string;
}

/** A model in diffusers layout in a bucket of object storage that speaks S3, fetched once into the cache claim by an init container. Needs cache. Left out, another field says where. */
export interface SdxlJobSpecModelS3 {
  /** Name of the bucket, without `s3://`. */
  readonly bucket: string;
  /** What the keys of the model begin with, `unet/` and so on following behind a `/`. Empty, they stand at the root of the bucket. Default: "". */
  readonly prefix: string;
  /** Where another server than Amazon's speaks S3; buckets are addressed as parts of its path. Left out, the region's endpoint of Amazon S3. */
  readonly endpoint?: string;
  /** Region of the bucket. Left out, `AWS_REGION` of the pods, else `us-east-1`, from where Amazon S3 leads to the bucket's own. */
  readonly region?: string;
  /** A Secret with the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN` where they need one. Left out, the identity that the pods have is used: that of their service account (pods.serviceAccountName) or of their node. */
  readonly credentialsSecret?: SdxlJobSpecModelS3CredentialsSecret;
}

/** A Secret with the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN` where they need one. Left out, the identity that the pods have is used: that of their service account (pods.serviceAccountName) or of their node. */
export interface SdxlJobSpecModelS3CredentialsSecret {
  /** Name of the Secret, in the job's namespace. */
  readonly name: string;
}

export interface SdxlJobSpecModelLora {
  /** The adapter's file. A relative path is resolved as tokenizer. */
  readonly path: string;
  /** How much of the adapter, a decimal number from -99.9999 to 99.9999 written as a string. Default: "1.0". */
  readonly weight: string;
}

export interface SdxlJobSpecPrompt {
  /** What its images show; may be empty. */
  readonly prompt: string;
  /** What the second text encoder is told instead. Left out, the job's, or prompt where it has none. */
  readonly prompt2?: string;
  /** What its images must not show. Left out, as in the job. */
  readonly negativePrompt?: string;
  /** What the second text encoder is told instead of negativePrompt. Left out, the job's, or negativePrompt where it has none. */
  readonly negativePrompt2?: string;
  /** Seed of its first image; the next ones count on from it. Left out, image i of the job has the job's seed + i. */
  readonly seed?: number;
  /** Height of its images in pixels, by the same rules as the job's. Left out, as in the job. */
  readonly height?: number;
  /** Width of its images in pixels. Left out, as in the job. */
  readonly width?: number;
  /** Denoising steps of its images. Left out, as in the job. */
  readonly numInferenceSteps?: number;
  /** Weight of classifier-free guidance of its images, a decimal number from 0 to 99.9999 written as a string. Above 1 where the job's is, up to 1 where the job's is not. Left out, as in the job. */
  readonly guidanceScale?: string;
}

/** Size that a training picture is said to have had before it was scaled to targetSize; a small one makes images look scaled up (Podell et al. 2023, section 2.2). Left out, the image's own. */
export interface SdxlJobSpecOriginalSize {
  /** Pixels. */
  readonly height: number;
  /** Pixels. */
  readonly width: number;
}

/** Where a training picture is said to have been cropped; 0, 0 makes well-centred images. Left out, 0 and 0. */
export interface SdxlJobSpecCropsCoordsTopLeft {
  /** Rows above the crop. */
  readonly top: number;
  /** Columns left of the crop. */
  readonly left: number;
}

/** Size that a training picture is said to have been scaled to. Left out, the image's own. */
export interface SdxlJobSpecTargetSize {
  /** Pixels. */
  readonly height: number;
  /** Pixels. */
  readonly width: number;
}

/** The originalSize that images must not look like. Needs negativeTargetSize and guidanceScale above 1. Left out, the negative branch has the sizes of the other one. */
export interface SdxlJobSpecNegativeOriginalSize {
  /** Pixels. */
  readonly height: number;
  /** Pixels. */
  readonly width: number;
}

/** The cropsCoordsTopLeft that images must not look like. Needs negativeOriginalSize and negativeTargetSize. Left out, 0 and 0 where these two are given. */
export interface SdxlJobSpecNegativeCropsCoordsTopLeft {
  /** Rows above the crop. */
  readonly top: number;
  /** Columns left of the crop. */
  readonly left: number;
}

/** The targetSize that images must not look like. Needs negativeOriginalSize. Left out, the negative branch has the sizes of the other one. */
export interface SdxlJobSpecNegativeTargetSize {
  /** Pixels. */
  readonly height: number;
  /** Pixels. */
  readonly width: number;
}

/** Fields of `scheduler_config.json` to take from here instead, with the meaning they have there, and eta. One that the sampler does not read is refused. Left out, as each of its fields, the file decides. */
export interface SdxlJobSpecSchedulerOptions {
  /** How the steps are spread over the training schedule. Models distilled to few steps need `Trailing`. Left out, as in the file. */
  readonly timestepSpacing?: 'Leading' | 'Trailing' | 'Linspace';
  /** What is added to the timesteps of the leading spacing. Left out, as in the file. */
  readonly stepsOffset?: number;
  /** What the model predicts, which is how it was trained and no matter of taste. Left out, as in the file. */
  readonly predictionType?: 'Epsilon' | 'VPrediction' | 'Sample';
  /** Whether the training schedule ends in pure noise, which is how the model was trained. Left out, as in the file. */
  readonly rescaleBetasZeroSnr?: boolean;
  /** Whether noise levels are those of Karras et al. 2022. Not for EulerAncestralDiscrete, DDIM, DDPM, LCM, PNDM and TCD. Left out, as in the file. */
  readonly useKarrasSigmas?: boolean;
  /** Whether the logarithms of noise levels are equally far apart, not together with Karras'. Not for EulerAncestralDiscrete, DDIM, DDPM, LCM, PNDM and TCD. Left out, as in the file. */
  readonly useExponentialSigmas?: boolean;
  /** Whether the last step removes all noise, or all but the training schedule's least. For EulerDiscrete, both DPMSolvers and UniPCMultistep. Left out, as in the file. */
  readonly finalSigmasType?: 'Zero' | 'SigmaMin';
  /** Whether a DPMSolver follows the ordinary differential equation or the stochastic one, with new noise in each step. Left out, as in the file. */
  readonly algorithmType?: 'DPMSolverPlusPlus' | 'SdeDPMSolverPlusPlus';
  /** The second-order variant, `Midpoint` or `Heun` of a DPMSolver, `Bh1` or `Bh2` of UniPCMultistep. Left out, as in the file. */
  readonly solverType?: 'Midpoint' | 'Heun' | 'Bh1' | 'Bh2';
  /** How many predictions a step of a DPMSolver, DEISMultistep or UniPCMultistep combines. 2 suits guidance; the stochastic variant has no 3. Left out, as in the file. */
  readonly solverOrder?: number;
  /** Whether the last steps of DPMSolverMultistep and DEISMultistep (below 15 steps), DPMSolverSinglestep and UniPCMultistep are of lower order. Left out, as in the file. */
  readonly lowerOrderFinal?: boolean;
  /** Whether the last step of DPMSolverMultistep is Euler's. Left out, as in the file. */
  readonly eulerAtFinal?: boolean;
  /** Whether the last step of DDIM or PNDM removes all noise. Left out, as in the file. */
  readonly setAlphaToOne?: boolean;
  /** How much of the noise it removes a step adds anew, a decimal number from 0 to 1 written as a string. For DDIM (1 is DDPM) and TCD (gamma in its paper; adapters are made for 0.3, for one step 1.0), where diffusers' pipeline takes it. Left out, 0. */
  readonly eta?: string;
  /** Whether PNDM begins without Runge-Kutta steps, which serve no latents; only true is supported. PNDM makes them unless the file or this field says true. Left out, as in the file. */
  readonly skipPrkSteps?: boolean;
  /** Whether DDIM, DDPM, HeunDiscrete, LCM and TCD clip predicted images to -1 to 1, which suits no latents; only false is supported. DDIM and DDPM clip unless the file or this field says false. Left out, as in the file. */
  readonly clipSample?: boolean;
  /** The number of steps that a model was distilled from with LCM or TCD, the most it can make. Left out, as in the file. */
  readonly originalInferenceSteps?: number;
}

/** How the images are spread over ranks. The job has dataDegree x cfgDegree x patchDegree ranks, each on its own device (or its share of the processors); with mesh Auto it has as many as ranks says. */
export interface SdxlJobSpecParallelism {
  /** `Explicit`: the mesh is dataDegree x cfgDegree x patchDegree. `Auto`: it is chosen for the number of ranks from the number of images, guidance, size and backend, for the least time of the whole job; `sdxl inspect --mesh -f FILE` shows the choice and why. Default: "Explicit". */
  readonly mesh: 'Explicit' | 'Auto';
  /** Number of ranks with mesh `Auto`, which needs it. Left out, the degrees say it. */
  readonly ranks?: number;
  /** Number of images made at once, each by cfgDegree x patchDegree ranks of its own, which take the next image as soon as they have finished one. An image's pixels do not depend on it. At most numImages. Default: 1. */
  readonly dataDegree: number;
  /** 2 computes the conditional and the unconditional branch on different ranks; 1 computes both on each. 2 needs guidanceScale above 1. Default: 1. */
  readonly cfgDegree: number;
  /** Number of horizontal stripes an image is cut into, one for each rank. Above 1, height must be a multiple of 32 x patchDegree. Default: 1. */
  readonly patchDegree: number;
  /** Ranks of each pod. There are as many pods as ranks / ranksPerPod, which start and end together. Left out, all ranks share one pod. */
  readonly ranksPerPod?: number;
  /** When stripes learn of their neighbours' activations. `Synchronous`: in every layer of every step, so that the images equal those of one rank. The others displace: after the warm-up a step uses the neighbours' activations of the step before, which travel while it computes, so the images differ a little. They treat the statistics of GroupNorm differently: `SyncGn` waits for the fresh ones, `CorrectedAsyncGn` moves the old ones by this rank's own change, `StaleGn` takes the neighbours' old ones, `SeparateGn` only its own. `NoSync` is `SeparateGn` without any exchange after the warm-up. All but `Synchronous` need patchDegree above 1. Default: "Synchronous". */
  readonly mode: 'Synchronous' | 'SyncGn' | 'CorrectedAsyncGn' | 'StaleGn' | 'SeparateGn' | 'NoSync';
  /** Steps counted from 0 up to and including this one are synchronous in every mode, so 4 makes five of them. Without effect with mode `Synchronous`. Default: 4. */
  readonly warmupSteps: number;
}

/** Where the images go. */
export interface SdxlJobSpecOutput {
  /** PNG file the image is written to, whole or not at all, with a JSON file of its parameters and latencies beside it. With numImages above 1 image i goes to `<name>-<i>.png`, i from 0. A relative path is resolved against the working directory, as that of the model; in a cluster, against the root of the claim; with s3, below its prefix. Default: "output.png". */
  readonly path: string;
  /** The claim that images are written to. Left out, the operator makes the claim `<name>-output`, which is deleted with the job. */
  readonly claim?: SdxlJobSpecOutputClaim;
  /** Size of the claim that the operator makes. Left out, `1Gi`. */
  readonly size?: string;
  /** Storage class of the claim that the operator makes. Left out, the cluster's default. */
  readonly storageClassName?: string;
  /** A bucket of object storage that speaks S3, to which each image and its JSON file are uploaded when the image is made; until that is acknowledged they stay in the cache. Left out, images go to a claim, or on the command line to a file. */
  readonly s3?: SdxlJobSpecOutputS3;
}

/** The claim that images are written to. Left out, the operator makes the claim `<name>-output`, which is deleted with the job. */
export interface SdxlJobSpecOutputClaim {
  /** Name of the PersistentVolumeClaim, in the job's namespace. */
  readonly name: string;
}

/** A bucket of object storage that speaks S3, to which each image and its JSON file are uploaded when the image is made; until that is acknowledged they stay in the cache. Left out, images go to a claim, or on the command line to a file. */
export interface SdxlJobSpecOutputS3 {
  /** Name of the bucket, without `s3://`. */
  readonly bucket: string;
  /** What the keys of the images begin with, path following behind a `/`. Empty, path is the key. Default: "". */
  readonly prefix: string;
  /** Where another server than Amazon's speaks S3; buckets are addressed as parts of its path. Left out, the region's endpoint of Amazon S3. */
  readonly endpoint?: string;
  /** Region of the bucket. Left out, `AWS_REGION` of the pods, else `us-east-1`, from where Amazon S3 leads to the bucket's own. */
  readonly region?: string;
  /** A Secret with the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN` where they need one. Left out, the identity that the pods have is used: that of their service account (pods.serviceAccountName) or of their node. */
  readonly credentialsSecret?: SdxlJobSpecOutputS3CredentialsSecret;
}

/** A Secret with the keys `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, and `AWS_SESSION_TOKEN` where they need one. Left out, the identity that the pods have is used: that of their service account (pods.serviceAccountName) or of their node. */
export interface SdxlJobSpecOutputS3CredentialsSecret {
  /** Name of the Secret, in the job's namespace. */
  readonly name: string;
}

/** When a gang that failed is started again. A failure that the same input would repeat is final at once; the exit codes of `sdxl` tell which. */
export interface SdxlJobSpecFailurePolicy {
  /** How often the gang is started again after a rank failed. Default: 3. */
  readonly maxRestarts: number;
  /** How often the gang is started again after the cluster took a pod away (eviction, preemption, a lost node). Default: 20. */
  readonly maxDisruptions: number;
  /** Wait before the first restart after a failure; it doubles with each, up to five minutes. Disruptions wait for nothing. Default: 5. */
  readonly backoffSeconds: number;
}

/** Where engines and fetched models are kept. Left out, each pod has a cache of its own, which goes with it. */
export interface SdxlJobSpecCache {
  /** The claim, which many jobs may share. Pods on several nodes need one that can be mounted by all. */
  readonly claim: SdxlJobSpecCacheClaim;
}

/** The claim, which many jobs may share. Pods on several nodes need one that can be mounted by all. */
export interface SdxlJobSpecCacheClaim {
  /** Name of the PersistentVolumeClaim, in the job's namespace. */
  readonly name: string;
}

/** The device of each rank. Left out, ranks compute on the processor. */
export interface SdxlJobSpecAccelerator {
  /** Extended resource of which each rank gets one, a MIG profile such as `nvidia.com/mig-3g.20gb` included. Left out, devices come by the claim template. */
  readonly resourceName?: string;
  /** ResourceClaimTemplate (dynamic resource allocation) from which each pod gets a claim; it must ask for ranksPerPod devices. Left out, devices come by resourceName. */
  readonly resourceClaimTemplateName?: string;
}

/** A network device for each pod, such as an RDMA adapter. Left out, pods have the cluster's network alone. */
export interface SdxlJobSpecNetwork {
  /** Extended resource of the device. */
  readonly resourceName: string;
  /** How many each pod gets. Default: 1. */
  readonly count: number;
}

/** Which scheduler places the gang, and how. May be changed while the job is suspended. Left out, the cluster's default scheduler places pods one by one. */
export interface SdxlJobSpecScheduling {
  /** Kueue's LocalQueue. The child Job is made suspended and Kueue starts it. Left out, no queue. */
  readonly queueName?: string;
  /** Whose PodGroup lets pods be placed all or none: that of the scheduler plugin Coscheduling or of Volcano, which must be installed. `None`: pods are placed one by one. Default: "None". */
  readonly gang: 'None' | 'Coscheduling' | 'Volcano';
  /** Scheduler of the pods. Left out, `volcano` for gang `Volcano`, else the cluster's default. */
  readonly schedulerName?: string;
  /** PriorityClass of the pods. Left out, the cluster's default. */
  readonly priorityClassName?: string;
  /** Keeps the gang's pods close to each other. Left out, they may be anywhere. */
  readonly topology?: SdxlJobSpecSchedulingTopology;
}

/** Keeps the gang's pods close to each other. Left out, they may be anywhere. */
export interface SdxlJobSpecSchedulingTopology {
  /** Label of nodes whose value the gang's pods shall share. */
  readonly key: string;
  /** Whether pods wait for such nodes, or take others where there are none. Default: "Required". */
  readonly policy: 'Required' | 'Preferred';
}

/** What the job's pods have besides what the operator gives them. */
export interface SdxlJobSpecPods {
  /** Image of the ranks. Left out, the operator's own choice, of its version. */
  readonly image?: string;
  /** When the image is pulled. Default: "IfNotPresent". */
  readonly imagePullPolicy: 'IfNotPresent' | 'Always' | 'Never';
  /** Names of Secrets with credentials for registries. Left out, none but the service account's. */
  readonly imagePullSecrets?: readonly string[];
  /** Service account of the pods, whose token is not mounted. Left out, the namespace's default. */
  readonly serviceAccountName?: string;
  /** RuntimeClass of the pods. Left out, the cluster's default. */
  readonly runtimeClassName?: string;
  /** Further labels of the pods. Those of `sdxl.io/`, `batch.kubernetes.io/` and `app.kubernetes.io/` are the operator's, `job-name` and `controller-uid` Kubernetes'. Left out, none. */
  readonly labels?: Readonly<Record<string, string>>;
  /** Annotations of the pods. Left out, none. */
  readonly annotations?: Readonly<Record<string, string>>;
  /** Labels that nodes must have. Left out, any node will do. */
  readonly nodeSelector?: Readonly<Record<string, string>>;
  /** Taints of nodes that the pods tolerate. Left out, none. */
  readonly tolerations?: readonly SdxlJobSpecPodsToleration[];
  /** Resources of each pod's ranks together, accelerators and network devices excepted. Left out, none are asked for. */
  readonly resources?: SdxlJobSpecPodsResources;
  /** Size of /dev/shm, which counts as memory of the pod as far as it is used. Default: "1Gi". */
  readonly sharedMemorySize: string;
  /** Further environment of the ranks. Left out, none. */
  readonly env?: readonly SdxlJobSpecPodsEnv[];
  /** User of the ranks' processes, never root. Left out, the image's, 10001. */
  readonly runAsUser?: number;
  /** Group to which volumes are made writable where their type allows it. Default: 10001. */
  readonly fsGroup: number;
}

export interface SdxlJobSpecPodsToleration {
  /** Key of the taint. Left out, every taint is meant. */
  readonly key?: string;
  /** Whether the value counts. Default: "Equal". */
  readonly operator: 'Exists' | 'Equal';
  /** Value of the taint. Left out, the empty one. */
  readonly value?: string;
  /** Effect of the taint. Left out, every effect is meant. */
  readonly effect?: 'NoSchedule' | 'PreferNoSchedule' | 'NoExecute';
}

/** Resources of each pod's ranks together, accelerators and network devices excepted. Left out, none are asked for. */
export interface SdxlJobSpecPodsResources {
  /** What a node must have free. Left out, what limits say. */
  readonly requests?: Readonly<Record<string, string>>;
  /** What may be used at most. Left out, there is no limit. */
  readonly limits?: Readonly<Record<string, string>>;
}

export interface SdxlJobSpecPodsEnv {
  /** Name of the variable. */
  readonly name: string;
  /** Its value. Left out, it comes from a Secret. */
  readonly value?: string;
  /** A Secret's key that holds the value. Left out, value says it. */
  readonly secret?: SdxlJobSpecPodsEnvSecret;
}

/** A Secret's key that holds the value. Left out, value says it. */
export interface SdxlJobSpecPodsEnvSecret {
  /** Name of the Secret, in the job's namespace. */
  readonly name: string;
  /** Key within the Secret. */
  readonly key: string;
}

/** What has become of the job. Written by the operator. */
export interface SdxlJobStatus {
  /** The metadata.generation this status speaks of; -1 until the operator has seen the job. */
  readonly observedGeneration?: number;
  /** The job's state in one word, for people; programs read the conditions. */
  readonly phase?: 'Pending' | 'Suspended' | 'Starting' | 'Running' | 'Restarting' | 'Complete' | 'Failed' | 'Terminating';
  /** The current attempt, from 1. Its Job is `<name>-<attempt>`. */
  readonly attempt?: number;
  /** How often the gang was started again after a failure. */
  readonly restarts?: number;
  /** How often the gang was started again after the cluster took a pod away. */
  readonly disruptions?: number;
  /** When the job was started, or resumed last. */
  readonly startTime?: string;
  /** When the job ended. */
  readonly completionTime?: string;
  /** When the current attempt may start, after a failure. */
  readonly restartTime?: string;
  /** The current attempt's children, by their identity. */
  readonly gang?: SdxlJobStatusGang;
  /** How far the current attempt is, as rank 0 tells it; renewed at most every five seconds. */
  readonly progress?: SdxlJobStatusProgress;
  /** What ended the last attempt that did not succeed. */
  readonly lastFailure?: SdxlJobStatusLastFailure;
  /** The job's state by aspect. `Complete` and `Failed` are final, and at most one of them becomes `True`. */
  readonly conditions?: readonly SdxlJobStatusCondition[];
}

/** The current attempt's children, by their identity. */
export interface SdxlJobStatusGang {
  /** Identity of the attempt's Job, once it is seen. */
  readonly jobUid?: string;
  /** The gang's pods. One that is replaced within an attempt breaks the gang. */
  readonly pods?: readonly SdxlJobStatusGangPod[];
}

export interface SdxlJobStatusGangPod {
  /** Completion index of the pod. */
  readonly index: number;
  /** Name of the pod. */
  readonly name: string;
  /** Identity of the pod. */
  readonly uid: string;
}

/** How far the current attempt is, as rank 0 tells it; renewed at most every five seconds. */
export interface SdxlJobStatusProgress {
  /** Share of the denoising steps that are done, in per cent. */
  readonly done?: string;
  /** The phase of the rank that is least far. */
  readonly phase?: string;
  /** Images that are complete. */
  readonly imagesDone?: number;
  /** Denoising step of the current image; once the job is complete, the last step of its last image. */
  readonly step?: number;
  /** Median time from prompt to file of the images of this attempt. */
  readonly latencyP50?: string;
  /** The 95th percentile of that time. */
  readonly latencyP95?: string;
  /** When the ranks told so. */
  readonly time?: string;
}

/** What ended the last attempt that did not succeed. */
export interface SdxlJobStatusLastFailure {
  /** The attempt. */
  readonly attempt?: number;
  /** The pod that failed first by itself. */
  readonly pod?: string;
  /** The rank, where it is known. */
  readonly rank?: number;
  /** Exit code of the container. */
  readonly exitCode?: number;
  /** The error's code, as in docs/cli.md, or the cluster's reason. */
  readonly code?: string;
  /** What the rank said. */
  readonly message?: string;
  /** When. */
  readonly time?: string;
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
