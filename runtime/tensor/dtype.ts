/** Element types of tensors. Names are those of ONNX and torch; `f16` data are raw IEEE binary16 bits in a Uint16Array. */
export const dtypes = {
  f32: { sizeBytes: 4 },
  f16: { sizeBytes: 2 },
  bf16: { sizeBytes: 2 },
  i32: { sizeBytes: 4 },
  i64: { sizeBytes: 8 },
} as const satisfies Record<string, { readonly sizeBytes: number }>;
export type DType = keyof typeof dtypes;

export interface DTypeArrays {
  f32: Float32Array;
  f16: Uint16Array;
  bf16: Uint16Array;
  i32: Int32Array;
  i64: BigInt64Array;
}
