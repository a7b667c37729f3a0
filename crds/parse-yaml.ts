/**
 * Reads the one object a YAML (or JSON) text holds, as kubectl would read it, and remembers where each field stands.
 * Text is untrusted: its size, nesting and aliases are bounded, and a key given twice is an error.
 */
import { Composer, isMap, isScalar, isSeq, LineCounter, Parser, visit, type CST, type Document, type Node, type ScalarTag } from 'yaml';
import type { FieldPath } from './field-path.js';

export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

export interface YamlProblem extends Partial<TextPosition> {
  readonly message: string;
}

export type ParsedYaml =
  | { readonly ok: true; readonly value: unknown; readonly locate: (path: FieldPath) => TextPosition | undefined }
  | { readonly ok: false; readonly problems: readonly YamlProblem[] };

const maxSizeBytes = 256 * 1024;
const maxDepth = 64;
const maxProblems = 8;

class NestingError extends Error {}
class AliasError extends Error {}

/** What YAML 1.1, which kubectl reads, takes for booleans and octal numbers and YAML 1.2 does not. */
const yaml11Tags: ScalarTag[] = [
  { tag: 'tag:yaml.org,2002:bool', default: true, test: /^(?:yes|Yes|YES|on|On|ON)$/u, resolve: () => true },
  { tag: 'tag:yaml.org,2002:bool', default: true, test: /^(?:no|No|NO|off|Off|OFF)$/u, resolve: () => false },
  { tag: 'tag:yaml.org,2002:int', default: true, test: /^[-+]?0[0-7]+$/u, resolve: (text) => Number.parseInt(text, 8) },
];

export function parseYaml(text: string): ParsedYaml {
  const sizeBytes = Buffer.byteLength(text);
  if (sizeBytes > maxSizeBytes) {
    return failed([{ message: `the file has ${sizeBytes} bytes, at most ${maxSizeBytes} are allowed` }]);
  }
  try {
    return parseBounded(text);
  } catch (error) {
    if (error instanceof NestingError) return failed([{ message: `the file is nested more than ${maxDepth} levels deep` }]);
    if (error instanceof AliasError) return failed([{ message: `the file's aliases cannot be resolved: ${error.message}` }]);
    throw error;
  }
}

function parseBounded(text: string): ParsedYaml {
  const lines = new LineCounter();
  const composer = new Composer({
    uniqueKeys: false, // checked below, in linear time
    prettyErrors: false,
    logLevel: 'error',
    merge: true,
    customTags: (tags) => [...yaml11Tags, ...tags],
  });
  const tokens = new Parser(lines.addNewLine).parse(text);
  const documents = [...composer.compose(nestedAtMost(maxDepth, tokens))].filter((document) => !isEmpty(document));
  const problems = documents.flatMap((document) => documentProblems(document, lines));
  if (problems.length > 0) return failed(problems.slice(0, maxProblems));
  const [document, ...others] = documents;
  if (document === undefined) return failed([{ message: 'the file holds no object' }]);
  if (others.length > 0) {
    const found = documents.map((each) => `${headline(each)} at line ${lines.linePos(each.contents?.range[0] ?? 0).line}`);
    const message = `the file holds ${documents.length} objects, exactly one is allowed: ${found.slice(0, maxProblems).join(', ')}`;
    return failed([{ message }]);
  }
  return { ok: true, value: resolved(document), locate: (path) => locate(document.contents, path, lines) };
}

/** What is wrong with aliases and merge keys shows only here, as errors of several classes. */
function resolved(document: Document.Parsed): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new AliasError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

/**
 * Passes syntax trees on that are no deeper than `limit`. The parser keeps a stack of its own, but everything after it recurses:
 * there an overflow may strike within V8's regular expressions, which ends the process.
 */
function* nestedAtMost(limit: number, tokens: Iterable<CST.Token>): Generator<CST.Token> {
  for (const token of tokens) {
    let level: readonly CST.Token[] = [token];
    for (let depth = 0; level.length > 0; depth++) {
      if (depth > limit) throw new NestingError();
      level = level.flatMap(childrenOf);
    }
    yield token;
  }
}

function childrenOf(token: CST.Token): CST.Token[] {
  if (token.type === 'document') return token.value === undefined ? [] : [token.value];
  return 'items' in token
    ? token.items.flatMap(({ key, value }) => [key, value].filter((child) => child !== undefined && child !== null))
    : [];
}

function documentProblems(document: Document.Parsed, lines: LineCounter): YamlProblem[] {
  const problems: YamlProblem[] = [...document.errors, ...document.warnings].map((error) => ({
    ...position(error.pos[0], lines),
    message: error.message,
  }));
  visit(document, {
    Map(_key, map) {
      const seen = new Map<unknown, number>();
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        const name = String(key.value);
        const at = key.range?.[0] ?? 0;
        const first = seen.get(name);
        if (first === undefined) seen.set(name, at);
        else
          problems.push({
            ...position(at, lines),
            message: `"${name}" is given twice, first at line ${lines.linePos(first).line}`,
          });
      }
    },
  });
  return problems;
}

/** Nothing between two separators, or `null`. */
function isEmpty({ contents, errors }: Document.Parsed): boolean {
  return errors.length === 0 && (contents === null || (isScalar(contents) && contents.value === null));
}

function headline(document: Document.Parsed): string {
  const { contents } = document;
  if (!isMap(contents)) return 'something that is no map';
  const kind: unknown = contents.get('kind');
  const name: unknown = contents.getIn(['metadata', 'name']);
  return [typeof kind === 'string' ? kind : 'an object without kind', ...(typeof name === 'string' ? [name] : [])].join(' ');
}

/** Position of the field at `path`, or of its nearest parent in the text. */
function locate(root: Node | null, path: FieldPath, lines: LineCounter): TextPosition | undefined {
  let node: unknown = root;
  let at = root?.range?.[0];
  for (const step of path) {
    if (isMap(node)) {
      const pair = node.items.find(({ key }) => isScalar(key) && String(key.value) === step);
      if (pair === undefined) break;
      at = isScalar(pair.key) ? (pair.key.range?.[0] ?? at) : at;
      node = pair.value;
    } else if (isSeq(node)) {
      const item = node.items[Number(step)] as Node | undefined;
      at = item?.range?.[0] ?? at;
      node = item;
    } else break;
  }
  return at === undefined ? undefined : position(at, lines);
}

function position(offset: number, lines: LineCounter): TextPosition {
  const { line, col } = lines.linePos(offset);
  return { line, column: col };
}

function failed(problems: readonly YamlProblem[]): ParsedYaml {
  return { ok: false, problems };
}
