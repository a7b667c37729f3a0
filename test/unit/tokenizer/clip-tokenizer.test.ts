import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { SdxlError } from '../../../runtime/errors/index.js';
import { packageFile } from '../../../runtime/package-root.js';
import { BytePairEncoder, endOfWord, type Merges } from '../../../runtime/tokenizer/bpe.js';
import { byteAlphabet, fromByteChars, toByteChars } from '../../../runtime/tokenizer/byte-level.js';
import { ClipTokenizer, eosPosition } from '../../../runtime/tokenizer/index.js';

type Json = Record<string, unknown>;
const fixture = packageFile('test/fixtures/random-sdxl/tokenizer_2');
const folder = await mkdtemp(join(tmpdir(), 'tokenizer-'));
after(() => rm(folder, { recursive: true }));
let count = 0;
async function copyOfFixture(): Promise<string> {
  const path = join(folder, String(count++));
  await cp(fixture, path, { recursive: true });
  return path;
}
const parse = async (path: string): Promise<Json> => JSON.parse(await readFile(path, 'utf8')) as Json;

test('byte characters: 256 distinct visible ones, and any text comes back', () => {
  const alphabet = byteAlphabet();
  assert.equal(new Set(alphabet).size, 256);
  assert.ok(alphabet.every((char) => !/\s/u.test(char)));
  assert.deepEqual([alphabet[0x21], alphabet[0x20], alphabet[0xad], alphabet[0xff]], ['!', 'Ġ', 'Ń', 'ÿ']);
  const text = 'a \u0000é日🦊\u00ad';
  assert.equal(fromByteChars(toByteChars(text).join('')), text);
  assert.equal(fromByteChars(toByteChars('é').slice(0, 1).join('')), '\ufffd');
});

/** The definition, quadratic: join the leftmost pair of the lowest rank until none is left. */
function joinOneByOne(chars: readonly string[], merges: Merges): string[] {
  const symbols = chars.map((char, at) => (at === chars.length - 1 ? char + endOfWord : char));
  for (;;) {
    const ranks = symbols.slice(1).map((right, at) => merges.findIndex(([a, b]) => a === symbols[at] && b === right));
    const best = Math.min(...ranks.map((rank) => (rank < 0 ? Infinity : rank)));
    if (best === Infinity) return symbols;
    const at = ranks.indexOf(best);
    symbols.splice(at, 2, `${symbols[at] ?? ''}${symbols[at + 1] ?? ''}`);
  }
}

test('byte pair encoding equals its definition, also where a join makes an earlier pair', () => {
  const merges: Merges = [
    ['ab', 'ab'],
    ['b', 'a'],
    ['a', 'b'],
    ['aba', 'b'],
    ['ab', 'a'],
    ['a', 'a'],
    ['aa', `b${endOfWord}`],
    ['b', `b${endOfWord}`],
    ['abab', `a${endOfWord}`],
  ];
  const symbols = ['a', 'b', `a${endOfWord}`, `b${endOfWord}`, ...new Set(merges.map(([left, right]) => left + right))];
  const encoder = new BytePairEncoder(new Map(symbols.map((symbol, id) => [symbol, id])), merges);
  for (let length = 1; length <= 9; length++) {
    for (let bits = 0; bits < 2 ** length; bits++) {
      const chars = Array.from({ length }, (_, at) => ((bits >> at) & 1 ? 'b' : 'a'));
      const expected = joinOneByOne(chars, merges);
      assert.deepEqual(
        encoder.encode(chars).map((id) => symbols[id]),
        expected,
        chars.join(''),
      );
    }
  }
});

test('a word of a million letters takes seconds at most', async () => {
  const tokenizer = await ClipTokenizer.open(fixture);
  const started = performance.now();
  const { inputIds, truncatedText } = tokenizer.encode('ab'.repeat(500_000));
  assert.equal(inputIds.length, 77);
  assert.ok((truncatedText?.length ?? 0) > 900_000);
  assert.ok(performance.now() - started < 30_000);
});

test('the two paddings, and room for 75 tokens', async () => {
  for (const [name, pad] of [
    ['tokenizer', 1023n],
    ['tokenizer_2', 0n],
  ] as const) {
    const tokenizer = await ClipTokenizer.open(packageFile(`test/fixtures/random-sdxl/${name}`));
    assert.equal(tokenizer.maxLength, 77);
    const empty = tokenizer.encode('');
    assert.deepEqual([...empty.inputIds], [1022n, 1023n, ...Array<bigint>(75).fill(pad)]);
    assert.equal(empty.truncatedText, undefined);
    const full = tokenizer.encode('a '.repeat(75));
    assert.deepEqual([full.inputIds[76], full.eosPosition, full.truncatedText], [1023n, 76, undefined]);
    const over = tokenizer.encode(`${'a '.repeat(75)}B c`);
    assert.deepEqual([over.inputIds[76], over.eosPosition, over.truncatedText], [1023n, 76, 'b c']);
  }
});

test('of added tokens that start together the longest is taken', async () => {
  const path = await copyOfFixture();
  const config = await parse(join(path, 'tokenizer_config.json'));
  const more = {
    1024: { content: 'a<', normalized: false },
    1025: { content: 'a<b', normalized: false },
    1026: { content: 'A+', normalized: true },
  };
  config['added_tokens_decoder'] = { ...(config['added_tokens_decoder'] as Json), ...more };
  await writeFile(join(path, 'tokenizer_config.json'), JSON.stringify(config));
  const tokenizer = await ClipTokenizer.open(path);
  const ids = (prompt: string): number[] =>
    [...tokenizer.encode(prompt).inputIds.slice(1, tokenizer.encode(prompt).eosPosition)].map(Number);
  assert.deepEqual(ids('a<ba<'), [1025, 1024]);
  assert.deepEqual(ids('A<'), ids('A <'), 'as typed: no other case');
  assert.deepEqual(ids('a+A+'), [1026, 1026]);
  assert.equal(tokenizer.decode([1025, 1026]), 'a<bA+');
});

test('a lone surrogate is a replacement character', async () => {
  const tokenizer = await ClipTokenizer.open(fixture);
  assert.deepEqual(tokenizer.encode('\ud800x').inputIds, tokenizer.encode('\ufffdx').inputIds);
});

test('eosPosition: largest id for the legacy 2, else the first of that id', () => {
  const ids = BigInt64Array.of(5n, 1n, 9n, 7n, 9n, 7n, 2n);
  assert.equal(eosPosition(ids, 2), 2);
  assert.equal(eosPosition(ids, 7), 3);
  assert.equal(eosPosition(ids, 9), 2);
  assert.equal(eosPosition(ids, 5), 0);
  assert.equal(eosPosition(BigInt64Array.of(0n, 0n), 2), 0);
  assert.throws(() => eosPosition(ids, 49407), failure(/eos_token_id 49407 is not among/));
});

/** What transformers 5 saves: tokenizer.json, and a tokenizer_config.json without added_tokens_decoder. */
async function tokenizerJson(): Promise<{ path: string; document: Json; config: Json }> {
  const path = await copyOfFixture();
  const [vocab, config, merges] = await Promise.all([
    parse(join(path, 'vocab.json')),
    parse(join(path, 'tokenizer_config.json')),
    readFile(join(path, 'merges.txt'), 'utf8'),
  ]);
  for (const name of ['vocab.json', 'merges.txt', 'special_tokens_map.json']) await rm(join(path, name));
  delete config['added_tokens_decoder'];
  const added = [
    { id: 0, content: '!', normalized: false, special: true },
    { id: 1022, content: '<|startoftext|>', normalized: true, special: true },
    { id: 1023, content: '<|endoftext|>', normalized: true, special: true },
  ];
  const document = {
    added_tokens: added,
    normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Replace' }, { type: 'Lowercase' }] },
    pre_tokenizer: { type: 'Sequence', pretokenizers: [{ type: 'Split' }, { type: 'ByteLevel' }] },
    model: { type: 'BPE', end_of_word_suffix: '</w>', vocab, merges: merges.trim().split('\n').slice(1) },
  };
  return { path, document, config };
}

test('tokenizer.json gives the same ids, with merges as text or as pairs', async () => {
  const { path, document, config } = await tokenizerJson();
  const model = document['model'] as { merges: string[] };
  const reference = await ClipTokenizer.open(fixture);
  for (const merges of [model.merges, model.merges.map((line) => line.split(' '))]) {
    await writeFile(join(path, 'tokenizer.json'), JSON.stringify({ ...document, model: { ...model, merges } }));
    await writeFile(join(path, 'tokenizer_config.json'), JSON.stringify(config));
    const tokenizer = await ClipTokenizer.open(path);
    for (const prompt of ['hello !!! A red FOX <|ENDOFTEXT|>', 'detailed 🦊 '.repeat(30)]) {
      assert.deepEqual(tokenizer.encode(prompt), reference.encode(prompt));
    }
  }
});

const wrongTokenizerJson: [string, (document: Json) => void, RegExp][] = [
  [
    'model type',
    (d) => (d['model'] = { ...(d['model'] as Json), type: 'WordPiece' }),
    /model\.type: expected BPE as in CLIP, found WordPiece/,
  ],
  ['suffix', (d) => (d['model'] = { ...(d['model'] as Json), end_of_word_suffix: null }), /end_of_word_suffix: expected <\/w>/],
  ['normalizer', (d) => (d['normalizer'] = null), /normalizer: expected NFC,Replace,Lowercase as in CLIP, found nothing/],
  ['pre_tokenizer', (d) => (d['pre_tokenizer'] = { type: 'Sequence', pretokenizers: [{ type: 'Split' }] }), /found Split/],
  ['vocab', (d) => (d['model'] = { ...(d['model'] as Json), vocab: [] }), /expected an object "vocab"/],
  ['merge', (d) => (d['model'] = { ...(d['model'] as Json), merges: [['a']] }), /two symbols in each merge, found \["a"\]/],
  ['added token', (d) => (d['added_tokens'] = [{ id: -1, content: 'x' }]), /expected a token with "content" and an id/],
];
for (const [name, change, message] of wrongTokenizerJson) {
  test(`refused tokenizer.json: ${name}`, async () => {
    const { path, document } = await tokenizerJson();
    change(document);
    await writeFile(join(path, 'tokenizer.json'), JSON.stringify(document));
    await assert.rejects(ClipTokenizer.open(path), failure(message, 'tokenizer.json'));
  });
}

const wrongConfig: [string, (config: Json) => void, RegExp][] = [
  ['class', (c) => (c['tokenizer_class'] = 'T5Tokenizer'), /tokenizer_class: expected CLIPTokenizer, found "T5Tokenizer"/],
  ['no class', (c) => delete c['tokenizer_class'], /tokenizer_class: .*found nothing/],
  ['prefix space', (c) => (c['add_prefix_space'] = true), /add_prefix_space: true is not supported/],
  ['no length', (c) => delete c['model_max_length'], /model_max_length: expected an integer from 2 to 65536.*found nothing/],
  ['boundless length', (c) => (c['model_max_length'] = 1e30), /model_max_length/],
  ['length without room', (c) => (c['model_max_length'] = 1), /model_max_length/],
  ['pad token without id', (c) => (c['pad_token'] = '<pad>'), /has no id for the special token "<pad>"/],
  ['special token of no form', (c) => (c['eos_token'] = 7), /eos_token expected a token with "content"/],
  ['declared tokens of no form', (c) => (c['added_tokens_decoder'] = 1), /added_tokens_decoder: expected an object/],
  ['declared id', (c) => (c['added_tokens_decoder'] = { x: { content: 'a' } }), /added_tokens_decoder expected a token/],
  ['stripping', (c) => (c['added_tokens_decoder'] = { 0: { content: '!', lstrip: true } }), /"!": lstrip is not supported/],
  ['whole words', (c) => (c['added_tokens_decoder'] = { 0: { content: '!', single_word: true } }), /single_word is not supported/],
];
for (const [name, change, message] of wrongConfig) {
  test(`refused tokenizer_config.json: ${name}`, async () => {
    const path = await copyOfFixture();
    const config = await parse(join(path, 'tokenizer_config.json'));
    change(config);
    await writeFile(join(path, 'tokenizer_config.json'), JSON.stringify(config));
    await assert.rejects(ClipTokenizer.open(path), failure(message));
  });
}

const wrongFiles: [string, Record<string, string | null>, RegExp, string][] = [
  ['no config', { 'tokenizer_config.json': null }, /is missing: a tokenizer folder needs it/, 'tokenizer_config.json'],
  ['config cut short', { 'tokenizer_config.json': '{"a":' }, /is no JSON/, 'tokenizer_config.json'],
  ['config that is a list', { 'tokenizer_config.json': '[]' }, /expected a JSON object/, 'tokenizer_config.json'],
  ['no vocab', { 'vocab.json': null }, /is missing beside merges\.txt/, 'vocab.json'],
  ['no merges', { 'merges.txt': null }, /is missing beside vocab\.json/, 'merges.txt'],
  ['neither', { 'vocab.json': null, 'merges.txt': null }, /has neither vocab\.json with merges\.txt nor tokenizer\.json/, ''],
  ['a third symbol in a merge', { 'merges.txt': 'a b\na b c\n' }, /two symbols in each merge, found "a b c"/, 'merges.txt'],
  ['a merge without its result', { 'merges.txt': 'q q\n' }, /lacks 1 symbols .*the first is "qq"/, 'vocab.json'],
  ['a vocabulary without bytes', { 'vocab.json': '{"a": 0}' }, /lacks \d+ symbols/, 'vocab.json'],
  ['an id that is text', { 'vocab.json': '{"a": "0"}' }, /"a": expected a non-negative integer id, found "0"/, 'vocab.json'],
  ['one id for two', { 'vocab.json': '{"a": 0, "b": 0}' }, /gives one id to two tokens/, 'vocab.json'],
  [
    'merges cut short',
    { 'merges.txt': (await readFile(join(fixture, 'merges.txt'), 'utf8')).split('\n').slice(0, 101).join('\n') },
    /has \d+ words that no merge makes, the first is ".*<\/w>": the merges are incomplete, fetch them again$/,
    'vocab.json',
  ],
  ['added tokens', { 'added_tokens.json': '{"<cat>": 1024}' }, /is not supported: textual inversion/, 'added_tokens.json'],
];
for (const [name, files, message, file] of wrongFiles) {
  test(`refused folder: ${name}`, async () => {
    const path = await copyOfFixture();
    for (const [key, content] of Object.entries(files)) {
      await (content === null ? rm(join(path, key)) : writeFile(join(path, key), content));
    }
    await assert.rejects(ClipTokenizer.open(path), failure(message, file));
  });
}

function failure(message: RegExp, file = ''): (error: unknown) => true {
  return (error) => {
    assert.ok(error instanceof SdxlError, String(error));
    assert.equal(error.code, 'TOKENIZER_INVALID');
    assert.match(error.message, message);
    assert.ok(error.message.includes(file), error.message);
    return true;
  };
}
