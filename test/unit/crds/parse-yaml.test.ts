import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseYaml } from '../../../crds/parse-yaml.js';

const refusedTexts: readonly { name: string; text: string; message: RegExp; line?: number }[] = [
  { name: 'nothing', text: '', message: /holds no object/u },
  { name: 'only comments and separators', text: '# a\n---\n# b\n---\n', message: /holds no object/u },
  { name: 'a key twice', text: 'a: 1\nb: 2\na: 3\n', message: /"a" is given twice, first at line 1/u, line: 3 },
  { name: 'a nested key twice', text: 'a:\n  b: 1\n  "b": 2\n', message: /"b" is given twice, first at line 2/u, line: 3 },
  { name: 'a key twice in a flow map', text: '{"a": 1, "a": 2}', message: /"a" is given twice/u, line: 1 },
  {
    name: 'two objects',
    text: 'kind: A\n---\nkind: B\nmetadata: {name: b}\n',
    message: /holds 2 objects, exactly one is allowed: A at line 1, B b at line 3/u,
  },
  { name: 'a bracket left open', text: 'a: [1, 2', message: /must end with a \]|end with a \]/u, line: 1 },
  { name: 'a tab as indentation', text: 'a:\n\tb: 1\n', message: /[Tt]ab/u, line: 2 },
  { name: 'an unknown tag', text: 'a: !!js/function x\n', message: /tag/u, line: 1 },
  { name: 'an alias to nothing', text: 'a: *b\n', message: /alias/u },
  { name: 'a text too large', text: `a: ${'b'.repeat(256 * 1024)}`, message: /at most 262144 are allowed/u },
  { name: 'deep lists', text: '['.repeat(20_000), message: /nested more than 64 levels deep/u },
  { name: 'deep closed lists', text: `${'['.repeat(10_000)}${']'.repeat(10_000)}`, message: /nested more than 64 levels deep/u },
  { name: 'deep block lists', text: '- '.repeat(20_000), message: /nested more than 64 levels deep/u },
  { name: 'deep explicit keys', text: '? '.repeat(20_000), message: /nested more than 64 levels deep/u },
  { name: 'deep maps', text: '{a: '.repeat(10_000), message: /nested more than 64 levels deep/u },
  { name: 'aliases that multiply', text: aliasBomb(), message: /aliases cannot be resolved/u },
];

for (const { name, text, message, line } of refusedTexts) {
  test(`refused text: ${name}`, () => {
    const parsed = parseYaml(text);
    assert.ok(!parsed.ok);
    assert.match(parsed.problems[0]?.message ?? '', message);
    assert.ok(parsed.problems.length <= 8);
    if (line !== undefined) assert.equal(parsed.problems[0]?.line, line);
  });
}

const readTexts: readonly { name: string; text: string; value: unknown }[] = [
  { name: 'JSON', text: '{"a": {"b": [1, "2"]}}', value: { a: { b: [1, '2'] } } },
  { name: 'one object between separators', text: '---\na: 1\n---\n', value: { a: 1 } },
  { name: "YAML 1.1's booleans", text: '[yes, No, on, OFF, true, "yes"]', value: [true, false, true, false, true, 'yes'] },
  { name: 'octal numbers', text: '[0100, 010, 0, 100]', value: [64, 8, 0, 100] },
  { name: 'anchors and merge keys', text: 'a: &x {b: 1}\nc: {<<: *x, d: 2}', value: { a: { b: 1 }, c: { b: 1, d: 2 } } },
  { name: 'a folded text', text: 'a: >-\n  b\n  c\n', value: { a: 'b c' } },
  { name: 'a byte order mark', text: '\uFEFFa: 1\n', value: { a: 1 } },
  { name: 'Windows line ends', text: 'a: 1\r\nb: 2\r\n', value: { a: 1, b: 2 } },
];

for (const { name, text, value } of readTexts) {
  test(`read: ${name}`, () => {
    const parsed = parseYaml(text);
    assert.ok(parsed.ok, parsed.ok ? '' : JSON.stringify(parsed.problems));
    assert.deepEqual(parsed.value, value);
  });
}

test('a key named __proto__ is a key', () => {
  const parsed = parseYaml('__proto__: {polluted: true}\n');
  assert.ok(parsed.ok);
  assert.deepEqual(Object.keys(parsed.value as object), ['__proto__']);
  assert.equal(({} as Record<string, unknown>)['polluted'], undefined);
});

test('positions are those of the key, or of the nearest parent', () => {
  const parsed = parseYaml('a:\n  b:\n    - c: 1\n    - d: 2\n');
  assert.ok(parsed.ok);
  assert.deepEqual(parsed.locate(['a', 'b', 1, 'd']), { line: 4, column: 7 });
  assert.deepEqual(parsed.locate(['a', 'x', 'y']), { line: 1, column: 1 });
  assert.deepEqual(parsed.locate([]), { line: 1, column: 1 });
});

test('many keys take no quadratic time', () => {
  const keys = Array.from({ length: 25_000 }, (_, index) => `k${index}: 1`).join('\n');
  const started = performance.now();
  assert.ok(parseYaml(keys).ok);
  const elapsedMs = performance.now() - started;
  assert.ok(elapsedMs < 10_000, `${elapsedMs.toFixed(0)} ms`);
});

function aliasBomb(): string {
  const levels = Array.from({ length: 12 }, (_, level) => {
    const inner = level === 0 ? '"x"' : `*a${level - 1}`;
    return `a${level}: &a${level} [${Array.from({ length: 9 }, () => inner).join(', ')}]`;
  });
  return levels.join('\n');
}
