/**
 * The syntax of weighted prompts, as the AUTOMATIC1111 web UI made it known: `(text)` weighs 1.1 times as much, `[text]` that much less,
 * `(text:1.3)` what it says; brackets nest, `\(` and its like are the character itself, and `BREAK` ends a chunk of tokens. Reads as
 * `parse_prompt_attention` of diffusers' community pipeline lpw_stable_diffusion_xl does, which takes BREAK for a word.
 */
import { SdxlError } from '../errors/index.js';

export interface WeightedText {
  readonly text: string;
  readonly weight: number;
}

const emphasis = 1.1;
const breakWord = /\s*(?<![\p{L}\p{N}_])BREAK(?![\p{L}\p{N}_])\s*/gu;
const explicitWeight = /:([+-]?[.\p{Nd}]+)\)/uy;
const plainRun = /[^\\()[\]:]+/uy;
/** What binary16, in which weights are applied, can hold. */
const largestWeight = 65_504;

/**
 * The texts between BREAKs, each a list of texts with their weights; neighbours of equal weight are one text, and are so cut into words.
 * @throws SdxlError JOB_INVALID naming `field`, for a weight that is no number
 */
export function parseWeightedPrompt(prompt: string, field: string): readonly (readonly WeightedText[])[] {
  return new Reader(prompt, field).read();
}

interface Piece {
  readonly text: string;
  weight: number;
}

/** Stands for BREAK among the pieces. */
const chunkEnd = Symbol('BREAK');

class Reader {
  readonly #prompt: string;
  readonly #field: string;
  readonly #pieces: (Piece | typeof chunkEnd)[] = [];
  /** Where among the pieces brackets were opened that are not closed yet. */
  readonly #round: number[] = [];
  readonly #square: number[] = [];

  constructor(prompt: string, field: string) {
    this.#prompt = prompt;
    this.#field = field;
  }

  read(): readonly (readonly WeightedText[])[] {
    for (let at = 0; at < this.#prompt.length;) at += this.#readAt(at);
    // A bracket that is never closed reaches to the end.
    for (const from of this.#round) this.#weigh(from, emphasis);
    for (const from of this.#square) this.#weigh(from, 1 / emphasis);
    const sections: WeightedText[][] = [[]];
    for (const piece of this.#pieces) {
      const section = sections.at(-1) ?? [];
      const last = section.at(-1);
      if (piece === chunkEnd) sections.push([]);
      else if (last?.weight === piece.weight) section.splice(-1, 1, { text: last.text + piece.text, weight: piece.weight });
      else section.push(piece);
    }
    return sections;
  }

  /** Reads one token of the syntax and tells its length. */
  #readAt(at: number): number {
    const char = this.#prompt.charAt(at);
    if (char === '\\') return this.#escape(at);
    if (char === '(') this.#round.push(this.#pieces.length);
    else if (char === '[') this.#square.push(this.#pieces.length);
    else if (char === ')') this.#close(this.#round, emphasis, char);
    else if (char === ']') this.#close(this.#square, 1 / emphasis, char);
    else if (char === ':') return this.#colon(at);
    else return this.#run(at);
    return 1;
  }

  #escape(at: number): number {
    const next = this.#prompt.charAt(at + 1);
    const escapes = next !== '' && '()[]\\'.includes(next);
    this.#literal(escapes ? next : '');
    return escapes ? 2 : 1;
  }

  #colon(at: number): number {
    explicitWeight.lastIndex = at;
    const [whole, digits = ''] = explicitWeight.exec(this.#prompt) ?? [];
    const from = whole === undefined ? undefined : this.#round.pop();
    if (from === undefined) {
      this.#literal(whole ?? ':');
      return (whole ?? ':').length;
    }
    const weight = Number(inAscii(digits));
    if (!Number.isFinite(weight)) throw this.#invalid(`the weight "${digits}" is no number`);
    this.#weigh(from, weight);
    return whole?.length ?? 1;
  }

  #run(at: number): number {
    plainRun.lastIndex = at;
    const [run = ''] = plainRun.exec(this.#prompt) ?? [];
    run.split(breakWord).forEach((text, index) => {
      if (index > 0) this.#pieces.push(chunkEnd);
      this.#literal(text);
    });
    return run.length;
  }

  #close(open: number[], weight: number, char: string): void {
    const from = open.pop();
    if (from === undefined) this.#literal(char);
    else this.#weigh(from, weight);
  }

  #literal(text: string): void {
    this.#pieces.push({ text, weight: 1 });
  }

  #weigh(from: number, factor: number): void {
    for (const piece of this.#pieces.slice(from)) {
      if (piece === chunkEnd) continue;
      piece.weight *= factor;
      if (Math.abs(piece.weight) > largestWeight)
        throw this.#invalid(`the weight ${String(piece.weight)} is larger than ${String(largestWeight)}`);
    }
  }

  #invalid(what: string): SdxlError {
    return new SdxlError(
      'JOB_INVALID',
      `${this.#field}: ${what}: with promptSyntax Weighted write (text:1.3), or \\( and \\) where brackets are meant`,
      { fields: { field: this.#field } },
    );
  }
}

/** Decimal digits of any script, full-width ones among them, which keyboards for Chinese and Japanese write: each script has ten, or tens, in a row. */
function inAscii(digits: string): string {
  return digits.replaceAll(/\p{Nd}/gu, (digit) => {
    const code = digit.codePointAt(0) ?? 0;
    let zero = code;
    while (/\p{Nd}/u.test(String.fromCodePoint(zero - 1))) zero -= 1;
    return String((code - zero) % 10);
  });
}
