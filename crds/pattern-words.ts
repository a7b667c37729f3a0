/** What the contract's patterns ask for, in words: a CRD has no place for them, and an expression is no message. */

/** Each completes "must …". A test holds that none of the contract's patterns is missing. */
const words: Readonly<Record<string, string>> = {
  // spec
  '^[^\\x00-\\x1f\\x7f]+$': 'be a path without line breaks and other control characters',
  '^[0-9]{1,2}(\\.[0-9]{1,4})?$': 'be a decimal from 0 to 99.9999 with at most four digits behind the point',
  '^(0(\\.[0-9]{1,4})?|1(\\.0{1,4})?)$': 'be a decimal from 0 to 1 with at most four digits behind the point',
  '^([^\\x00-\\x1f\\x7f]*/)?[^/\\x00-\\x1f\\x7f]+\\.png$':
    'end in .png, in lower case, with a name before it and without control characters',
  '^([^\\x00-\\x1f\\x7f]*/)?[^/\\x00-\\x1f\\x7f]+\\.safetensors$':
    'end in .safetensors, with a name before it and without control characters',
  '^[A-Za-z0-9][A-Za-z0-9_-]*$': 'hold letters, digits, "-" and "_" only, and begin with a letter or a digit',
  '^-?[0-9]{1,2}(\\.[0-9]{1,4})?$': 'be a decimal from -99.9999 to 99.9999 with at most four digits behind the point',
  '^([^/\\x00-\\x1f\\x7f]+(/[^/\\x00-\\x1f\\x7f]+)*)?$': 'be a relative path without control characters, or empty',
  '^[a-z0-9A-Z][-a-zA-Z0-9._/:@]*$': 'be the reference of an image, such as registry.example.com/name:1.0',
  '^[A-Za-z0-9][-A-Za-z0-9._]*/[A-Za-z0-9][-A-Za-z0-9._]*$': 'have the form owner/name',
  '^[A-Za-z0-9][-A-Za-z0-9._/]*$': 'be the name of a branch or a tag, or a commit',
  '^[a-z0-9][-.a-z0-9]*[a-z0-9]$':
    'be the name of a bucket alone, without "s3://" and without "/" (what follows the bucket is its prefix): ' +
    'lower-case letters, digits, "-" and "." only, with a letter or a digit at both ends',
  '^https?://[^\\s]+$': 'be an http or https address without spaces',
  '^[-._a-zA-Z0-9]+$': 'hold letters, digits, "-", "_" and "." only',
  '^[1-9][0-9]*(Mi|Gi|Ti)$': 'be a whole number followed by Mi, Gi or Ti',
  '^[0-9]+(\\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$': 'be a quantity such as "500m", "2" or "16Gi"',
  '^[A-Za-z_][A-Za-z0-9_]*$': 'hold letters, digits and "_" only, and not begin with a digit',
  '^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$': 'have the form "name" or "example.com/name"',
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
