/** Jobs in files. */
import { constants, createReadStream, openSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { Socket } from 'node:net';
import { addAbortSignal, type Readable } from 'node:stream';
import { validateSdxlJob, type SdxlJob } from '../../crds/index.js';
import { SdxlError } from '../errors/index.js';
import { formatBytes, localJob, type LocalJob } from '../launch/index.js';
import { jobInvalid } from './job-options.js';

/** More text than any job or list of prompts; a device or a pipe may never end. */
const maxTextBytes = 64 * 2 ** 20;

/** Text of a job's file. @throws SdxlError USAGE, or the signal's reason */
export function readJobText(file: string, signal: AbortSignal): Promise<string> {
  return readText('-f', file, signal);
}

/** Text of the file that an option names, or of the standard input for `-`. @throws SdxlError USAGE, or the signal's reason */
export async function readText(option: string, file: string, signal: AbortSignal): Promise<string> {
  let bytes: Buffer;
  try {
    signal.throwIfAborted();
    if (file === '-') bytes = await readStream(process.stdin, signal);
    else bytes = await readStream((await stat(file)).isFIFO() ? openPipe(file) : createReadStream(file), signal);
  } catch (cause) {
    signal.throwIfAborted();
    throw new SdxlError('USAGE', `${option} ${file}: the file can't be read (${cause instanceof Error ? cause.message : String(cause)})`, {
      fields: { option, file },
      cause,
    });
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw new SdxlError('USAGE', `${option} ${file}: it is no text in UTF-8: save it in that encoding`, {
      fields: { option, file },
      cause,
    });
  }
}

/** Opened and read like a file, a pipe nobody writes to would hold a thread that nothing can interrupt, and with it the process's exit. */
function openPipe(file: string): Readable {
  const fd = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  return new Socket({ fd, readable: true, writable: false });
}

async function readStream(stream: Readable, signal: AbortSignal): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of addAbortSignal(signal, stream) as AsyncIterable<Buffer>) {
    length += chunk.length;
    if (length > maxTextBytes) throw new RangeError(`it has more than ${formatBytes(maxTextBytes)}`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The one job of a file. @throws SdxlError JOB_INVALID with every problem and its line, USAGE, or the signal's reason */
export async function readValidJob(file: string, signal: AbortSignal): Promise<SdxlJob> {
  const validation = validateSdxlJob(await readJobText(file, signal));
  if (validation.ok) return validation.job;
  throw jobInvalid(validation.errors, file);
}

/** The one job of a file, as this machine can run it; `placed` and errors as of {@link localJob}, and those of {@link readValidJob}. */
export async function readJobFile(file: string, signal: AbortSignal, options: { readonly placed?: boolean } = {}): Promise<LocalJob> {
  return localJob(await readValidJob(file, signal), options);
}

/** A file's documents, each behind as many empty lines as lines stand before it, so that positions are the file's. */
export function splitDocuments(content: string): string[] {
  const lines = content.split('\n');
  // At the start of a line these are a separator wherever they stand, also in a block of text.
  const starts = [0, ...lines.flatMap((line, index) => (index > 0 && /^---(\s|$)/u.test(line) ? [index] : []))];
  const pieces = starts.map((start, index) => ({ start, text: lines.slice(start, starts[index + 1]).join('\n') }));
  const filled = pieces.filter(({ text }) => text.split('\n').some((line) => !/^(---|\.\.\.)?\s*(#.*)?$/u.test(line)));
  return (filled.length === 0 ? pieces.slice(0, 1) : filled).map(({ start, text }) => '\n'.repeat(start) + text);
}
