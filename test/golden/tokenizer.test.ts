/** Ids, EOS positions and truncated text equal those of transformers' CLIPTokenizer (test/fixtures/make_goldens.py). */
import assert from 'node:assert/strict';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { packageFile } from '../../runtime/package-root.js';
import { ClipTokenizer, eosPosition } from '../../runtime/tokenizer/index.js';

interface Expected {
  readonly ids: number[];
  readonly length: number;
  readonly removed: string | null;
  readonly eos_legacy: number;
  readonly eos_first: number;
  readonly classic?: number[];
}
type Golden = Readonly<Record<'tokenizer' | 'tokenizer_2', Expected> & { prompt: string }>;

const model = packageFile('test/fixtures/random-sdxl');
const goldens = JSON.parse(await readFile(packageFile('test/fixtures/goldens/tokens.json'), 'utf8')) as Golden[];
const folder = await mkdtemp(join(tmpdir(), 'tokenizer-'));
after(() => rm(folder, { recursive: true }));

for (const name of ['tokenizer', 'tokenizer_2'] as const) {
  test(`${name}: ${String(goldens.length)} prompts`, async () => {
    const tokenizer = await ClipTokenizer.open(join(model, name));
    assert.equal(goldens.length, 55);
    for (const golden of goldens) {
      const expected = golden[name];
      const result = tokenizer.encode(golden.prompt);
      const label = JSON.stringify(golden.prompt);
      assert.deepEqual([...result.inputIds], expected.ids.map(BigInt), label);
      assert.equal(result.truncatedText, expected.removed ?? undefined, label);
      assert.equal(result.eosPosition, expected.eos_first, label);
      assert.equal(eosPosition(result.inputIds, 2), expected.eos_legacy, label);
    }
  });

  test(`${name}: the same with SDXL's original tokenizer_config.json`, async () => {
    const copy = join(folder, name);
    await cp(join(model, name), copy, { recursive: true });
    const token = (content: string): object => ({ __type: 'AddedToken', content, lstrip: false, normalized: true });
    const eos = '<|endoftext|>';
    const config = {
      add_prefix_space: false,
      bos_token: token('<|startoftext|>'),
      eos_token: token(eos),
      model_max_length: 77,
      pad_token: name === 'tokenizer' ? eos : '!',
      tokenizer_class: 'CLIPTokenizer',
      unk_token: token(eos),
    };
    await writeFile(join(copy, 'tokenizer_config.json'), JSON.stringify(config));
    const tokenizer = await ClipTokenizer.open(copy);
    let unlike = 0;
    for (const golden of goldens) {
      const { ids, classic } = golden[name];
      if (classic !== undefined) unlike++;
      assert.deepEqual([...tokenizer.encode(golden.prompt).inputIds], (classic ?? ids).map(BigInt), JSON.stringify(golden.prompt));
    }
    assert.equal(unlike, name === 'tokenizer' ? 1 : 0);
  });
}
