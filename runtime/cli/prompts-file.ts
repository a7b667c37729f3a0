/** Prompts in files: lines of text, or texts and fields in YAML, JSON or JSON lines. What the fields may hold the contract's validator says. */
import { extname } from 'node:path';
import { parse, parseDocument } from 'yaml';
import { SdxlError } from '../errors/index.js';
import { readText } from './job-file.js';

/** Entries of `spec.prompts`, not validated. @throws SdxlError USAGE naming the file and what is wrong with it, or the signal's reason */
export async function readPrompts(file: string, signal: AbortSignal): Promise<readonly unknown[]> {
  const text = await readText('--prompts', file, signal);
  const extension = extname(file).toLowerCase();
  const entries = parsers[extension]?.(text, file);
  if (entries === undefined) {
    throw invalid(file, `files of type "${extension}" are not read: take .txt, .yaml, .json or .jsonl`);
  }
  if (entries.length === 0) throw invalid(file, 'it holds no prompt');
  return entries.map((entry) => (typeof entry === 'string' ? { prompt: entry } : entry));
}

const parsers: Readonly<Record<string, ((text: string, file: string) => readonly unknown[]) | undefined>> = {
  '.txt': (text) => filledLines(text).map(({ line }) => line),
  '.jsonl': (text, file) => filledLines(text).map(({ line, number }) => readJson(line, file, number)),
  '.json': readList,
  '.yaml': readList,
  '.yml': readList,
};

function filledLines(text: string): readonly { readonly line: string; readonly number: number }[] {
  return text
    .replace(/^\ufeff/u, '')
    .split(/\r\n|\n|\r/u)
    .map((line, index) => ({ line: line.trim(), number: index + 1 }))
    .filter(({ line }) => line !== '');
}

function readJson(line: string, file: string, number: number): unknown {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw invalid(file, `line ${String(number)} is no JSON`, cause);
  }
  // JSON takes the last of two.
  if (parseDocument(line).errors.some(({ code }) => code === 'DUPLICATE_KEY')) {
    throw invalid(file, `line ${String(number)} gives a field twice`);
  }
  return value;
}

/** JSON is YAML. */
function readList(text: string, file: string): readonly unknown[] {
  let value: unknown;
  try {
    value = parse(text);
  } catch (cause) {
    throw invalid(file, cause instanceof Error ? cause.message : String(cause), cause);
  }
  if (!Array.isArray(value)) throw invalid(file, 'a list of prompts is expected, each a text or fields such as prompt and seed');
  return value;
}

function invalid(file: string, what: string, cause?: unknown): SdxlError {
  return new SdxlError('USAGE', `--prompts ${file}: ${what}`, {
    fields: { option: '--prompts', file },
    ...(cause === undefined ? {} : { cause }),
  });
}
