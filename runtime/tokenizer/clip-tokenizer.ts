/**
 * CLIP's tokenizer. Reference: transformers 5.23.0, models/clip/tokenization_clip.py, over tokenizers 0.23.3: text is split at
 * added tokens, composed (NFC) and lower-cased, cut into words, and each word's UTF-8 bytes are joined by byte pair encoding.
 */
import { BytePairEncoder, endOfWord } from './bpe.js';
import { fromByteChars, toByteChars } from './byte-level.js';
import { eosPosition } from './eos-position.js';
import { readTokenizerFiles, type AddedToken, type TokenizerFiles } from './tokenizer-files.js';

export interface TokenizedPrompt {
  /** [maxLength] ids: BOS, the text, EOS, then the tokenizer's own padding. */
  readonly inputIds: BigInt64Array;
  /** Place of the first EOS. What a text encoder pools by is its config's rule: see {@link eosPosition}. */
  readonly eosPosition: number;
  /** The end of the prompt that did not fit and has no influence on the image: to be reported to the user. */
  readonly truncatedText?: string;
}

/** Unicode's White_Space, which differs from JavaScript's \s by U+0085 and U+FEFF. */
const space = '\\t-\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';
const contractions = "'s|'t|'re|'ve|'m|'ll|'d";
const wordPattern = new RegExp(`<\\|startoftext\\|>|<\\|endoftext\\|>|${contractions}|\\p{L}+|\\p{N}|[^${space}\\p{L}\\p{N}]+`, 'gu');
/** The byte-level stage splits words once more; that matters for special tokens written in the prompt but not matched as such. */
const piecePattern = new RegExp(`${contractions}|\\p{L}+|\\p{N}+|[^${space}\\p{L}\\p{N}]+`, 'gu');

export class ClipTokenizer {
  /** Length of every result: 77 for CLIP. */
  readonly maxLength: number;
  readonly bosId: number;
  readonly eosId: number;
  readonly #files: TokenizerFiles;
  readonly #encoder: BytePairEncoder;
  readonly #rawTokens: AddedTokenMatcher;
  readonly #normalizedTokens: AddedTokenMatcher;
  readonly #tokenOf: ReadonlyMap<number, string>;

  private constructor(files: TokenizerFiles) {
    this.maxLength = files.maxLength;
    this.bosId = files.bosId;
    this.eosId = files.eosId;
    this.#files = files;
    this.#encoder = new BytePairEncoder(files.vocabulary, files.merges);
    this.#rawTokens = new AddedTokenMatcher(files.addedTokens.filter((token) => !token.normalized));
    this.#normalizedTokens = new AddedTokenMatcher(
      files.addedTokens.filter((token) => token.normalized).map((token) => ({ ...token, content: normalize(token.content) })),
    );
    this.#tokenOf = new Map([
      ...[...files.vocabulary].map(([token, id]) => [id, token] as const),
      ...files.addedTokens.map(({ id, content }) => [id, content] as const),
    ]);
  }

  /** Reads a tokenizer folder of a diffusers model. @throws SdxlError TOKENIZER_INVALID */
  static async open(directory: string): Promise<ClipTokenizer> {
    return new ClipTokenizer(await readTokenizerFiles(directory));
  }

  /** Truncates to {@link maxLength} keeping EOS, and pads. */
  encode(prompt: string): TokenizedPrompt {
    const { bosId, eosId, padId } = this.#files;
    const text = this.tokens(prompt);
    const room = this.maxLength - 2;
    const ids = [bosId, ...text.slice(0, room), eosId];
    const inputIds = new BigInt64Array(this.maxLength).fill(BigInt(padId));
    inputIds.set(ids.map(BigInt));
    return {
      inputIds,
      eosPosition: eosPosition(inputIds, eosId),
      ...(text.length > room ? { truncatedText: this.decode(text.slice(room)) } : {}),
    };
  }

  /** The text of ids: words apart by blanks, special tokens kept. Not the inverse of encoding, which drops case and spacing. */
  decode(ids: readonly number[]): string {
    const tokens = ids.map((id) => this.#tokenOf.get(id) ?? '');
    return fromByteChars(tokens.join('')).replaceAll(endOfWord, ' ').trim();
  }

  /** The ids of a text of any length, without BOS, EOS and padding. */
  tokens(prompt: string): number[] {
    const ids: number[] = [];
    for (const raw of this.#rawTokens.split(prompt)) {
      if (typeof raw === 'number') ids.push(raw);
      else for (const part of this.#normalizedTokens.split(normalize(raw))) this.#encodePart(part, ids);
    }
    return ids;
  }

  #encodePart(part: number | string, ids: number[]): void {
    if (typeof part === 'number') {
      ids.push(part);
      return;
    }
    for (const [word] of part.matchAll(wordPattern)) {
      for (const [piece] of word.matchAll(piecePattern)) {
        for (const id of this.#encoder.encode(toByteChars(piece))) ids.push(id);
      }
    }
  }
}

/** Composes, and lower-cases each character alone: a final sigma stays σ. Blanks need no care, words are cut at them. */
function normalize(text: string): string {
  return Array.from(text.normalize('NFC'), (char) => char.toLowerCase()).join('');
}

/** Finds added tokens in a text: the leftmost first, the longest of those that start there. */
class AddedTokenMatcher {
  readonly #ids: ReadonlyMap<string, number>;
  readonly #pattern: RegExp | undefined;

  constructor(tokens: readonly AddedToken[]) {
    this.#ids = new Map(tokens.map(({ content, id }) => [content, id]));
    const contents = [...this.#ids.keys()].sort((a, b) => b.length - a.length);
    if (contents.length > 0) this.#pattern = new RegExp(contents.map(escapeForPattern).join('|'), 'gu');
  }

  /** The text's parts in order: ids of added tokens, and the texts between them. */
  *split(text: string): Generator<number | string> {
    let from = 0;
    if (this.#pattern !== undefined) {
      for (const match of text.matchAll(this.#pattern)) {
        const [content] = match;
        const id = this.#ids.get(content);
        if (match.index > from) yield text.slice(from, match.index);
        if (id !== undefined) yield id;
        from = match.index + content.length;
      }
    }
    if (from < text.length) yield text.slice(from);
  }
}

function escapeForPattern(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, String.raw`\$&`);
}
