/** A model that is elsewhere: what a source of models must tell and give for {@link fetchModel}. */

export interface RemoteFile {
  /** Within the model, `unet/config.json`. */
  readonly path: string;
  readonly sizeBytes: number;
  /** Another content has another one. */
  readonly version: string;
  /** Undefined: only the size is known. */
  readonly digest: FileDigest | undefined;
}

export interface FileDigest {
  /** `git-blob`: SHA-1 of `blob <size>\0` and the content, as Git names what it stores. */
  readonly algorithm: 'sha256' | 'md5' | 'git-blob';
  /** Hexadecimal. */
  readonly value: string;
}

export interface RemoteModel {
  /** For messages. */
  readonly name: string;
  /** The files that make up the model. @throws SdxlError where there is no such model, {@link TransferInterrupted} */
  list(signal: AbortSignal): Promise<readonly RemoteFile[]>;
  /** A file's bytes, from `offset` on or from 0. @throws SdxlError where it is gone or another one by now, {@link TransferInterrupted} */
  read(
    file: RemoteFile,
    offset: number,
    signal: AbortSignal,
  ): Promise<{ readonly start: number; readonly chunks: AsyncIterable<Uint8Array> }>;
  close(): void;
}

/** The same may succeed when it is tried again. */
export class TransferInterrupted extends Error {
  override readonly name = 'TransferInterrupted';
}

/**
 * What a diffusers directory consists of; checkpoints at the root are the same weights once more. No name begins with a dot: a listing is somebody
 * else's, and `..` leads out of the model.
 */
export function isModelFile(path: string): boolean {
  return /^(?:model_index\.json|[^./\\\p{Cc}][^/\\\p{Cc}]*\/[^./\\\p{Cc}][^/\\\p{Cc}]*\.(?:json|txt|safetensors))$/u.test(path);
}
