/** Many prompts in one run: files of them, sizes of their own, and a run that is killed and goes on where it was. */
import assert from 'node:assert/strict';
import { cp, readFile, writeFile } from 'node:fs/promises';
import { after, before, describe, test } from 'node:test';
import { decode } from 'fast-png';
import { fixture } from '../support/fixtures.js';
import { killAndResume } from '../support/killed-run.js';
import { sdxl, Workspace } from '../support/sdxl.js';

const model = fixture('random-sdxl');
const count = 20;
let shared: Workspace;
let env: Record<string, string>;

const settings = ['--size', '64', '--num-inference-steps', '3', '--seed', '7', '--threads', '1', '--guidance-scale', '3.0'];
const job = (...more: string[]): string[] => ['run', '--model', model, ...settings, ...more];

before(async () => {
  shared = await Workspace.open();
  env = { SDXL_CACHE_DIR: shared.file('cache'), SDXL_GRACE_PERIOD_SECONDS: '4' };
  await writeFile(shared.file('prompts.txt'), Array.from({ length: count }, (_, index) => `flowers ${String(index)}\n\n`).join(''));
});
after(async () => {
  await shared[Symbol.asyncDispose]();
});

describe('prompts from a file', () => {
  test('YAML, JSON and JSON lines: texts, and fields of their own; what images are made from stands beside them', async () => {
    await using workspace = await Workspace.open();
    const entries = [
      'flowers',
      { prompt: 'a rabbit', seed: 99, negativePrompt: 'night', height: 96 },
      { prompt: 'a boat', prompt2: 'willows', width: 128, numInferenceSteps: 5, guidanceScale: '2.0' },
    ];
    await writeFile(workspace.file('p.json'), JSON.stringify(entries));
    await writeFile(workspace.file('p.jsonl'), entries.map((entry) => `${JSON.stringify(entry)}\n`).join('\n'));
    await writeFile(
      workspace.file('p.yaml'),
      '- flowers\n- { prompt: a rabbit, seed: 99, negativePrompt: night, height: 96 }\n- prompt: a boat\n  prompt2: willows\n  width: 128\n  numInferenceSteps: 5\n  guidanceScale: "2.0"\n',
    );
    const contents: Buffer[][] = [];
    for (const kind of ['json', 'jsonl', 'yaml']) {
      const { code, stderr } = await sdxl(job('--prompts', `p.${kind}`, '--num-images', '2', '--output', `${kind}/x.png`), {
        cwd: workspace.path,
        env,
      });
      assert.equal(code, 0, stderr);
      contents.push(await Promise.all([0, 1, 2, 3, 4, 5].map((index) => readFile(workspace.file(kind, `x-${String(index)}.png`)))));
    }
    assert.deepEqual(contents[1], contents[0]);
    assert.deepEqual(contents[2], contents[0]);
    const records = await Promise.all(
      [0, 1, 2, 3, 4, 5].map(
        async (index) => JSON.parse(await readFile(workspace.file('json', `x-${String(index)}.json`), 'utf8')) as Record<string, unknown>,
      ),
    );
    assert.deepEqual(
      records.map(({ prompt, prompt2, negativePrompt, seed, height, width }) => [prompt, prompt2, negativePrompt, seed, height, width]),
      [
        ['flowers', undefined, undefined, '7', 64, 64],
        ['flowers', undefined, undefined, '8', 64, 64],
        ['a rabbit', undefined, 'night', '99', 96, 64],
        ['a rabbit', undefined, 'night', '100', 96, 64],
        ['a boat', 'willows', undefined, '11', 64, 128],
        ['a boat', 'willows', undefined, '12', 64, 128],
      ],
    );
    assert.deepEqual(
      records.map(({ numInferenceSteps, guidanceScale }) => [numInferenceSteps, guidanceScale]),
      [3, 3, 3, 3, 5, 5].map((steps) => [steps, steps === 5 ? 2 : 3]),
    );
    // What a prompt says of itself is what a job of its own would say.
    const alone = [
      '--prompt',
      'a boat',
      '--prompt-2',
      'willows',
      '--width',
      '128',
      '--num-inference-steps',
      '5',
      '--guidance-scale',
      '2.0',
    ];
    const { code, stderr } = await sdxl(job(...alone, '--seed', '11', '--output', 'alone.png'), { cwd: workspace.path, env });
    assert.equal(code, 0, stderr);
    const pixels = (png: Buffer | undefined): ArrayLike<number> => decode(png ?? assert.fail()).data;
    assert.deepEqual(pixels(await readFile(workspace.file('alone.png'))), pixels(contents[0]?.[4]));
    const { height, width } = decode(contents[0]?.[2] ?? assert.fail());
    assert.deepEqual([height, width], [96, 64]);
  });

  for (const [file, text, says] of [
    ['p.csv', 'a', /error USAGE: --prompts p\.csv: files of type "\.csv" are not read: take \.txt, \.yaml, \.json or \.jsonl/u],
    ['p.txt', ' \n\n', /error USAGE: --prompts p\.txt: it holds no prompt/u],
    ['p.yaml', 'prompt: a', /error USAGE: --prompts p\.yaml: a list of prompts is expected/u],
    ['p.jsonl', '"a"\n{', /error USAGE: --prompts p\.jsonl: line 2 is no JSON/u],
    ['p.jsonl', '"a"\n{"prompt": "b", "prompt": "c"}', /error USAGE: --prompts p\.jsonl: line 2 gives a field twice/u],
    ['p.txt', Buffer.from('caf\xe9', 'latin1'), /error USAGE: --prompts p\.txt: it is no text in UTF-8: save it in that encoding/u],
    [
      'p.json',
      '[{"prompt": "a"}, {"prompt": "b", "seed": -1}]',
      /error JOB_INVALID: --prompts p\.json, prompt 2\.seed: -1 is out of range/u,
    ],
    ['p.yml', '- { prompt: a, sead: 1 }', /error JOB_INVALID: --prompts p\.yml, prompt 1\.sead: is an unknown field; did you mean seed/u],
  ] as const) {
    test(`refused: ${file} with ${JSON.stringify(String(text))}`, async () => {
      await using workspace = await Workspace.open();
      await writeFile(workspace.file(file), text);
      const { code, stderr } = await sdxl(job('--prompts', file), { cwd: workspace.path, env });
      assert.equal(code, 2);
      assert.match(stderr, says);
    });
  }
});

test('a run of 20 prompts on two ranks, killed at random times, ends with the images of one that was not, and makes none twice', async (t) => {
  await using workspace = await Workspace.open();
  await cp(model, workspace.file('model'), { recursive: true });
  await killAndResume({
    workspace,
    env,
    model: workspace.file('model'),
    args: [...settings, '-n', '2', '--prompts', shared.file('prompts.txt')],
    count,
    kills: 3,
    patienceMs: 120_000,
    report: (text) => {
      t.diagnostic(text);
    },
  });
});

test('an image of other inputs is not kept, and that it is made anew is told', async () => {
  await using workspace = await Workspace.open();
  await writeFile(workspace.file('p.txt'), 'flowers\na rabbit\n');
  const first = await sdxl(job('--prompts', 'p.txt'), { cwd: workspace.path, env });
  assert.equal(first.code, 0, first.stderr);
  await writeFile(workspace.file('p.txt'), 'flowers\na boat\n');
  const second = await sdxl(job('--prompts', 'p.txt'), { cwd: workspace.path, env });
  assert.equal(second.code, 0, second.stderr);
  assert.match(second.stdout, /output-0\.png \(kept\)\n.*output-1\.png\n/u);
  assert.match(
    second.stderr,
    / warn .*output-1\.png was made from other inputs \(prompt\) and is made anew: take another output to keep both/u,
  );
  const third = await sdxl(job('--prompts', 'p.txt', '--no-resume'), { cwd: workspace.path, env });
  assert.doesNotMatch(third.stdout, /kept/u);
});
