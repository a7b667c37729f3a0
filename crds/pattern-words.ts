/** What the contract's patterns ask for, in words: a CRD has no place for them, and an expression is no message. */

/** Each completes "must …". A test holds that none of the contract's patterns is missing. */
const words: Readonly<Record<string, string>> = {
  // spec
  '^[^\\x00-\\x1f\\x7f]+$': 'be a path without line breaks and other control characters',
  '^[0-9]{1,2}(\\.[0-9]{1,4})?$': 'be a decimal from 0 to 99.9999 with at most four digits behind the point',
  '^([^\\x00-\\x1f\\x7f]*/)?[^/\\x00-\\x1f\\x7f]+\\.png$':
    'end in .png, in lower case, with a name before it and without control characters',
  // metadata
  '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$':
    'hold lower-case letters, digits, "-" and "." only, and begin and end with a letter or a digit',
  '^[a-z0-9]([-a-z0-9.]*[-a-z0-9])?$': 'hold lower-case letters, digits, "-" and "." only, and begin with a letter or a digit',
  '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$': 'hold lower-case letters, digits and "-" only, and begin and end with a letter or a digit',
  '^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$':
    'hold letters, digits, "-", "_" and "." only, and begin and end with a letter or a digit',
  // status
  '^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$':
    'be a word such as Complete, or one behind a domain and "/"',
  '^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$': 'be one word of letters and digits that begins with a letter',
};

/** Completes "must …". */
export function inWords(pattern: string): string {
  return words[pattern] ?? `match ${pattern}`;
}
