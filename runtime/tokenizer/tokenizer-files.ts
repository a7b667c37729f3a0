/**
 * Reads a tokenizer folder in either form: vocab.json, merges.txt, tokenizer_config.json and special_tokens_map.json (SDXL's own),
 * or tokenizer.json and tokenizer_config.json (what transformers 5 saves). What the tokenizer would not honour is refused by name.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SdxlError } from '../errors/index.js';
import { byteAlphabet } from './byte-level.js';
import { endOfWord, type Merges } from './bpe.js';

/** A token that is matched as text before anything is split. */
export interface AddedToken {
  readonly content: string;
  readonly id: number;
  /** Whether it is matched in the normalised text (so in any case) or in the text as typed. */
  readonly normalized: boolean;
}

export interface TokenizerFiles {
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly merges: Merges;
  readonly addedTokens: readonly AddedToken[];
  readonly bosId: number;
  readonly eosId: number;
  readonly padId: number;
  readonly maxLength: number;
}

type Json = Readonly<Record<string, unknown>>;

/** @throws SdxlError TOKENIZER_INVALID with the file and what is wrong with it. */
export async function readTokenizerFiles(directory: string): Promise<TokenizerFiles> {
  const configFile = join(directory, 'tokenizer_config.json');
  const config = await readJson(configFile);
  if (config === undefined) throw invalid(configFile, 'is missing: a tokenizer folder needs it');
  requireSupported(configFile, config);
  const addedFile = join(directory, 'added_tokens.json');
  if ((await readJson(addedFile)) !== undefined) throw invalid(addedFile, 'is not supported: textual inversion tokens are not yet');

  const model = (await readVocabAndMerges(directory)) ?? (await readTokenizerJson(directory));
  if (model === undefined) throw invalid(directory, 'has neither vocab.json with merges.txt nor tokenizer.json');
  requireComplete(model);

  const specialsFile = join(directory, 'special_tokens_map.json');
  const specials = (await readJson(specialsFile)) ?? {};
  const roles = readRoles(configFile, config, specialsFile, specials);
  const declared = declaredTokens(configFile, config) ?? model.addedTokens ?? [];
  const addedTokens = new Map(declared.map((token) => [token.content, token]));
  const idOf = (content: string): number => {
    const id = addedTokens.get(content)?.id ?? model.vocabulary.get(content);
    if (id === undefined) throw invalid(model.file, `has no id for the special token ${JSON.stringify(content)}`);
    return id;
  };
  // The last role wins, as in transformers: a pad token given as plain text is matched as typed even where it is EOS.
  const fromRoles = new Map<string, AddedToken>();
  for (const { content, normalized } of [roles.bos, roles.eos, roles.unk, roles.pad]) {
    fromRoles.set(content, { content, id: idOf(content), normalized });
  }
  for (const [content, token] of fromRoles) if (!addedTokens.has(content)) addedTokens.set(content, token);
  return {
    vocabulary: model.vocabulary,
    merges: model.merges,
    addedTokens: [...addedTokens.values()],
    bosId: idOf(roles.bos.content),
    eosId: idOf(roles.eos.content),
    padId: idOf(roles.pad.content),
    maxLength: readMaxLength(configFile, config),
  };
}

interface VocabularyModel {
  readonly file: string;
  readonly vocabulary: ReadonlyMap<string, number>;
  readonly merges: Merges;
  readonly addedTokens?: readonly AddedToken[];
}

async function readVocabAndMerges(directory: string): Promise<VocabularyModel | undefined> {
  const file = join(directory, 'vocab.json');
  const mergesFile = join(directory, 'merges.txt');
  const [vocab, text] = await Promise.all([readJson(file), readText(mergesFile)]);
  if (vocab === undefined && text === undefined) return undefined;
  if (vocab === undefined) throw invalid(file, 'is missing beside merges.txt');
  if (text === undefined) throw invalid(mergesFile, 'is missing beside vocab.json');
  const lines = text.split(/\r?\n/).filter((line, at) => line !== '' && !(at === 0 && line.startsWith('#version')));
  const merges = lines.map((line) => parsePair(mergesFile, line.split(' '), line));
  return { file, vocabulary: parseVocabulary(file, vocab), merges };
}

async function readTokenizerJson(directory: string): Promise<VocabularyModel | undefined> {
  const file = join(directory, 'tokenizer.json');
  const document = await readJson(file);
  if (document === undefined) return undefined;
  const model = asRecord(document['model']) ?? {};
  const expected: [string, unknown, unknown][] = [
    ['model.type', model['type'], 'BPE'],
    ['model.end_of_word_suffix', model['end_of_word_suffix'], endOfWord],
    ['normalizer', typesOf(document['normalizer'], 'normalizers'), 'NFC,Replace,Lowercase'],
    ['pre_tokenizer', typesOf(document['pre_tokenizer'], 'pretokenizers'), 'Split,ByteLevel'],
  ];
  for (const [field, found, wanted] of expected) {
    if (found !== wanted) throw invalid(file, `${field}: expected ${String(wanted)} as in CLIP, found ${String(found)}`);
  }
  const vocab = asRecord(model['vocab']);
  const pairs = model['merges'];
  if (vocab === undefined || !Array.isArray(pairs)) throw invalid(file, 'model: expected an object "vocab" and a list "merges"');
  const merges = pairs.map((pair: unknown) =>
    parsePair(file, typeof pair === 'string' ? pair.split(' ') : Array.isArray(pair) ? pair : [], pair),
  );
  const added = document['added_tokens'];
  const tokens = Array.isArray(added) ? added : [];
  const addedTokens = tokens.map((token: unknown) => parseAddedToken(file, token, asRecord(token)?.['id']));
  return { file, vocabulary: parseVocabulary(file, vocab), merges, addedTokens };
}

function typesOf(value: unknown, listKey: string): string {
  const list = asRecord(value)?.[listKey];
  return Array.isArray(list) ? list.map((item: unknown) => String(asRecord(item)?.['type'])).join(',') : 'nothing';
}

function parseVocabulary(file: string, vocab: Json): ReadonlyMap<string, number> {
  const vocabulary = new Map<string, number>();
  for (const [token, id] of Object.entries(vocab)) {
    if (!isId(id)) throw invalid(file, `${JSON.stringify(token)}: expected a non-negative integer id, found ${JSON.stringify(id)}`);
    vocabulary.set(token, id);
  }
  if (new Set(vocabulary.values()).size !== vocabulary.size) throw invalid(file, 'gives one id to two tokens');
  return vocabulary;
}

function parsePair(file: string, parts: readonly unknown[], source: unknown): readonly [string, string] {
  const [left, right] = parts;
  if (parts.length !== 2 || typeof left !== 'string' || typeof right !== 'string' || left === '' || right === '') {
    throw invalid(file, `expected two symbols in each merge, found ${JSON.stringify(source)}`);
  }
  return [left, right];
}

/**
 * Every byte, every byte at the end of a word and every merge's result must have an id, so that no text is unknown. A word that no merge
 * makes tells of a file that was cut short: prompts would be read in other tokens than those the encoders were trained on.
 */
function requireComplete({ file, vocabulary, merges }: VocabularyModel): void {
  const made = merges.map(([left, right]) => left + right);
  const alphabet = byteAlphabet().flatMap((char) => [char, char + endOfWord]);
  const missing = [...alphabet, ...made].filter((symbol) => !vocabulary.has(symbol));
  if (missing.length > 0) {
    throw invalid(
      file,
      `lacks ${String(missing.length)} symbols of the byte alphabet or the merges, the first is ${JSON.stringify(missing[0])}`,
    );
  }
  const known = new Set([...alphabet, ...made]);
  const unmade = [...vocabulary.keys()].filter((symbol) => symbol.endsWith(endOfWord) && !known.has(symbol));
  if (unmade.length > 0) {
    const found = `has ${String(unmade.length)} words that no merge makes, the first is ${JSON.stringify(unmade[0])}`;
    throw invalid(file, `${found}: the merges are incomplete, fetch them again`);
  }
}

function requireSupported(file: string, config: Json): void {
  const tokenizerClass = config['tokenizer_class'];
  if (tokenizerClass !== 'CLIPTokenizer' && tokenizerClass !== 'CLIPTokenizerFast') {
    throw invalid(file, `tokenizer_class: expected CLIPTokenizer, found ${show(tokenizerClass)}`);
  }
  if (config['add_prefix_space'] === true) throw invalid(file, 'add_prefix_space: true is not supported');
}

function readMaxLength(file: string, config: Json): number {
  const length = config['model_max_length'];
  if (typeof length !== 'number' || !Number.isInteger(length) || length < 2 || length > 1 << 16) {
    throw invalid(file, `model_max_length: expected an integer from 2 to 65536 (CLIP: 77), found ${show(length)}`);
  }
  return length;
}

interface Role {
  readonly content: string;
  readonly normalized: boolean;
}

function readRoles(
  configFile: string,
  config: Json,
  specialsFile: string,
  specials: Json,
): { readonly bos: Role; readonly eos: Role; readonly unk: Role; readonly pad: Role } {
  const role = (key: string, standard: string): Role => {
    const [file, value] = config[key] === undefined || config[key] === null ? [specialsFile, specials[key]] : [configFile, config[key]];
    if (value === undefined || value === null) return { content: standard, normalized: false };
    if (typeof value === 'string') return { content: value, normalized: false };
    const { content, normalized } = parseAddedToken(`${file}: ${key}`, value, 0);
    return { content, normalized };
  };
  const eos = '<|endoftext|>';
  return {
    bos: role('bos_token', '<|startoftext|>'),
    eos: role('eos_token', eos),
    unk: role('unk_token', eos),
    pad: role('pad_token', eos),
  };
}

function declaredTokens(file: string, config: Json): readonly AddedToken[] | undefined {
  const declared = config['added_tokens_decoder'];
  if (declared === undefined) return undefined;
  const record = asRecord(declared);
  if (record === undefined) throw invalid(file, 'added_tokens_decoder: expected an object');
  return Object.entries(record).map(([id, token]) => parseAddedToken(`${file}: added_tokens_decoder`, token, Number(id)));
}

function parseAddedToken(place: string, value: unknown, id: unknown): AddedToken {
  const token = asRecord(value);
  const content = token?.['content'];
  if (token === undefined || typeof content !== 'string' || content === '' || !isId(id)) {
    throw invalid(place, `expected a token with "content" and an id, found ${JSON.stringify(value)}`);
  }
  for (const flag of ['lstrip', 'rstrip', 'single_word']) {
    if (token[flag] === true) throw invalid(place, `${JSON.stringify(content)}: ${flag} is not supported`);
  }
  return { content, id, normalized: token['normalized'] !== false };
}

async function readText(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw invalid(file, `can't be read (${cause instanceof Error ? cause.message : String(cause)})`, cause);
  }
}

async function readJson(file: string): Promise<Json | undefined> {
  const text = await readText(file);
  if (text === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw invalid(file, `is no JSON (${cause instanceof Error ? cause.message : String(cause)}): fetch it again`, cause);
  }
  const record = asRecord(value);
  if (record === undefined) throw invalid(file, 'expected a JSON object');
  return record;
}

function asRecord(value: unknown): Json | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.fromEntries(Object.entries(value)) : undefined;
}

function show(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value);
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function invalid(file: string, problem: string, cause?: unknown): SdxlError {
  return new SdxlError('TOKENIZER_INVALID', `${file} ${problem}`, { fields: { file, problem }, cause });
}
