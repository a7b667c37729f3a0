/** Errors of the operating system, and what to do about those that writing meets. */
export type SystemError = NodeJS.ErrnoException & { readonly code: string };

/** An error of the operating system; an abort has a code too, but a number or another form. */
export function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' && /^E[A-Z0-9]+$/.test(error.code);
}

const advice: Readonly<Record<string, string>> = {
  EACCES: 'no permission: choose another path or change its owner',
  EPERM: 'no permission: choose another path or change its owner',
  ENOSPC: 'the disk is full: make room or choose another one',
  EDQUOT: 'the disk quota is used up: make room or choose another path',
  EROFS: 'the file system is read-only: choose a writable volume',
  ENOTDIR: 'a part of the path is a file, not a directory',
  EEXIST: 'a part of the path is a file, not a directory',
  ENOENT: 'a directory of the path is missing and none can be made there: choose another path',
  EISDIR: 'it is a directory: name a file',
  ENAMETOOLONG: 'the name is too long',
};

/** Why a path cannot be written, and what to do; undefined where the code is not one that writing meets. */
export function writingAdvice({ code }: SystemError): string | undefined {
  return advice[code];
}
