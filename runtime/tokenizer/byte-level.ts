/**
 * Bytes as visible characters: every byte has one stand-in, so any text can be tokenised without unknown symbols. The mapping is
 * that of GPT-2's encoder.py (`bytes_to_unicode`): printable Latin-1 stands for itself, the other 68 bytes follow from U+0100.
 */

const standIns: readonly string[] = makeStandIns();
const byteOf: ReadonlyMap<string, number> = new Map(standIns.map((char, byte) => [char, byte]));

function makeStandIns(): string[] {
  const chars: string[] = [];
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
    chars.push(String.fromCodePoint(printable ? byte : next++));
  }
  return chars;
}

/** The 256 stand-ins, indexed by byte. */
export function byteAlphabet(): readonly string[] {
  return standIns;
}

/** The stand-ins of the text's UTF-8 bytes. Lone surrogates become U+FFFD, as they have no UTF-8. */
export function toByteChars(text: string): string[] {
  return Array.from(new TextEncoder().encode(text), (byte) => standIns[byte] ?? '');
}

/** The text behind stand-ins; bytes that are no UTF-8 (a character cut in two) become U+FFFD. */
export function fromByteChars(chars: string): string {
  const bytes: number[] = [];
  for (const char of chars) {
    const byte = byteOf.get(char);
    if (byte !== undefined) bytes.push(byte);
    else bytes.push(...new TextEncoder().encode(char));
  }
  return new TextDecoder().decode(Uint8Array.from(bytes));
}
