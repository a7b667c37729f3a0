/**
 * ONNX Runtime tells its makers of every process, model and session, from version 1.30 on also on Linux: over the network, with an identifier of
 * the machine in the user's cache and files in the folder for temporary ones. Here it does not, unless the variable says otherwise.
 */

/** Before the library is loaded, and by the main thread: the library reads the process' own environment, of which a worker has a copy. */
export function silenceTelemetry(): void {
  // eslint-disable-next-line no-restricted-properties -- told to a library that takes no argument for it
  process.env['ORT_DISABLE_TELEMETRY'] ??= '1';
}
