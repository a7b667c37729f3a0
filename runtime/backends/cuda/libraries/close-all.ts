/** Closing several things although some fail to: what one says must not keep the others open. */

/** Closes all, in order; then throws what the first that failed said. */
export function closeAll(parts: Iterable<{ close(): void }>): void {
  let failure: { readonly reason: unknown } | undefined;
  for (const part of parts) {
    try {
      part.close();
    } catch (reason) {
      failure ??= { reason };
    }
  }
  if (failure !== undefined) throw failure.reason;
}

/** For what is closed because something failed, which counts more than what closing says. */
export function closeQuietly(...parts: readonly { close(): void }[]): void {
  try {
    closeAll(parts);
  } catch {
    // Told by what failed before.
  }
}
