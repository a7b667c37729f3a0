/** What a pipeline tells its observer: the stages of loading and of each image. Observers must not throw. */

/** The stages of one image, in order. `exchange` is contained in `denoise` and `decode`. */
export type Stage = 'encode' | 'denoise' | 'decode' | 'write';

export type PipelineEvent =
  /** An engine is ready to run: built now or found in the cache. */
  | {
      readonly type: 'engine';
      readonly component: string;
      readonly cached: boolean;
      readonly buildSeconds: number;
      readonly loadSeconds: number;
    }
  | { readonly type: 'stage-started'; readonly image: number; readonly stage: Stage }
  | { readonly type: 'stage-ended'; readonly image: number; readonly stage: Stage; readonly seconds: number }
  /** A denoising step ended; `step` counts from 1. */
  | {
      readonly type: 'step';
      readonly image: number;
      readonly step: number;
      readonly steps: number;
      readonly seconds: number;
      /** Undefined, like the bytes, where exchanges are part of a device's graph: nothing on the host sees them. */
      readonly exchangeSeconds: number | undefined;
      readonly exchanges: number;
      readonly sentBytes: number | undefined;
    }
  /** On rank 0: a step of an image that another replica makes. */
  | { readonly type: 'replica-step'; readonly image: number; readonly step: number; readonly steps: number }
  /** No image is left for this rank, and another replica has got on with its own. */
  | { readonly type: 'waiting' }
  | { readonly type: 'warning'; readonly message: string }
  /** The image exists where it belongs, or is left as it was because a previous attempt wrote it. Rank 0 tells of every image. */
  | {
      readonly type: 'image';
      readonly image: number;
      readonly seed: string;
      /** Or its URI. */
      readonly path: string;
      /** Rank that wrote it, or found it. */
      readonly rank: number;
      readonly skipped: boolean;
      /** Prompt in to file written. */
      readonly seconds: number;
      readonly stages: Readonly<Partial<Record<Stage, number>>>;
    };

export type PipelineObserver = (event: PipelineEvent) => void;
