/**
 * A text of others, such as a path, a prompt or a server's answer, as terminals and logs may show it: characters that would move a cursor, color what
 * follows, turn the direction of writing or begin another line of the log are escaped as in JSON.
 * @param lines line breaks stay as they are
 */
export function printable(text: string, lines: 'lines' | 'one line' = 'one line'): string {
  return text.replaceAll(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, (character) => {
    if (character === '\n') return lines === 'lines' ? character : '\\n';
    return character === '\t' ? '\\t' : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}
