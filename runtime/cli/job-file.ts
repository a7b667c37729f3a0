/** Jobs in files. */
import { readFile } from 'node:fs/promises';
import { text as readAll } from 'node:stream/consumers';
import { validateSdxlJob, type SdxlJob } from '../../crds/index.js';
import { SdxlError } from '../errors/index.js';
import { jobInvalid } from './job-options.js';

/** Text of a file, or of the standard input for `-`. @throws SdxlError USAGE */
export async function readJobText(file: string): Promise<string> {
  if (file === '-') return readAll(process.stdin);
  return readFile(file, 'utf8').catch((cause: unknown) => {
    throw new SdxlError('USAGE', `-f ${file}: the file can't be read (${cause instanceof Error ? cause.message : String(cause)})`, {
      fields: { option: '-f', file },
      cause,
    });
  });
}

/** The one job of a file. @throws SdxlError JOB_INVALID with every problem and its line */
export async function readJobFile(file: string): Promise<SdxlJob> {
  const validation = validateSdxlJob(await readJobText(file));
  if (validation.ok) return validation.job;
  throw jobInvalid(validation.errors, file);
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
