/** Where a model comes from, in which of its forms, and what is merged into it. */
export interface ModelSource {
  /** A diffusers directory, or a `.safetensors` checkpoint in the original layout. */
  readonly path: string;
  /** Of a directory's weight files, such as `fp16`. */
  readonly variant?: string;
  /** For a checkpoint: a directory that holds `tokenizer/` and `tokenizer_2/`. */
  readonly tokenizer?: string;
  /** For a checkpoint: a diffusers directory whose configs it has; undefined: SDXL base's. */
  readonly configFrom?: string;
  /** In the order they are added up. */
  readonly loras?: readonly { readonly path: string; readonly weight: number }[];
}

export function isSingleFile(path: string): boolean {
  return /\.safetensors$/i.test(path);
}
