/** An execution plan of cuDNN: one engine with its knobs, ready to run. */
export interface CudnnPlan extends Disposable {
  readonly workspaceBytes: number;
  /** The engine and its knobs: `engine 41 (2=0, 3=1)`. */
  readonly label: string;
  /** Whether its kernel was compiled when it was built (tens to hundreds of milliseconds). */
  readonly runtimeCompiled: boolean;
  /** JSON, with the compiled kernel where there is one. Holds for the same cuDNN version and device. */
  serialize(): string;
  close(): void;
}
