/** The acceptance of a GPU host: figures read from what programs print, and its command on a stand-in for NVIDIA's libraries. */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { describe, test } from 'node:test';
import { acceptanceChecks, isMissed, readFigure, type Check, type Figure } from '../../../bench/gpu/acceptance/checks.js';
import { packageFile } from '../../../runtime/package-root.js';
import { CudaStandIn, standInSkipReason } from '../../support/cuda-stand-in/index.js';
import { fixture } from '../../support/fixtures.js';
import { Workspace } from '../../support/sdxl.js';

const checks = acceptanceChecks({ model: 'm', work: 'w', python: 'python3' });

function figure(check: string, name: string): Figure {
  const found: Check = checks.find((each) => each.name === check) ?? assert.fail(check);
  return found.figures?.find((each) => each.name === name) ?? assert.fail(name);
}

test('checks have names of their own, and every gate of the figures is met or missed by numbers beside it', () => {
  assert.equal(new Set(checks.map(({ name }) => name)).size, checks.length);
  for (const { most, least, ...rest } of checks.flatMap(({ figures = [] }) => figures)) {
    if (most !== undefined)
      assert.deepEqual([isMissed({ ...rest, most }, most), isMissed({ ...rest, most }, most * 1.01 + 0.01)], [false, true]);
    if (least !== undefined)
      assert.deepEqual([isMissed({ ...rest, least }, least), isMissed({ ...rest, least }, least - 0.01)], [false, true]);
  }
  assert.ok(isMissed(figure('step-1024', 'step'), undefined));
  assert.ok(isMissed(figure('step-1024', 'step'), Number.NaN));
});

test('figures are read from lines as the programs print them', () => {
  const lines: readonly (readonly [check: string, figure: string, text: string, value: number])[] = [
    ['step-1024', 'step', 'step at 1024², batch 2: median 28.17 ms of 60, least 26.80, most 31.60', 28.17],
    ['step-1024', 'of its libraries alone', '  library kernels alone 25.15 ms: the step is 1.120 × that', 1.12],
    ['decode-1024', 'decode', 'decode at 1024²: network and copy 24.9 ms, check on the host 10.1 ms (medians of 20)', 24.9],
    ['images', 'median', 'all 25: median 1.4702 s, least 1.4512, most 1.5011', 1.4702],
    ['images', 'last five to first five', 'first five 1.4884 s, last five 1.4698 s: −1.255 %', -1.255],
    ['images', 'last five to first five', 'first five 1.4884 s, last five 1.5182 s: +2.002 %', 2.002],
    ['load', 'loading', 'engine text_encoder: cached, loaded in 500.0 ms\nengine unet: cached, loaded in 1.10 s\n', 1.6],
    [
      'parity-1',
      'least PSNR',
      'Cuda, cfg 1 × patch 1, Synchronous: 26 images in 9.1 s, least 40.3 dB, median 66.5 dB, limit 40: passed',
      40.3,
    ],
    ['patches-1024', 'step', '1024², cfg 1 × patch 2, Synchronous: median 21.10 ms of 60 steps, least 20.91, most 22.00', 21.1],
    ['rank-error', 'a step’s change, most', "a step's change: 2.41e-3 to 4.02e-3", 4.02e-3],
    ['fp16-error', 'worst ratio', 'worst ratio 0.86, limit 1.5: passed', 0.86],
    ['operators', 'passed', '2824 passed, 0 failed', 2824],
    ['sanitizer', 'errors', '========= ERROR SUMMARY: 0 errors', 0],
    ['races', 'errors', '========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)', 0],
    ['races', 'tests', '# tests 80\n# suites 1\n# pass 56\n# fail 0', 56],
  ];
  for (const [check, name, text, value] of lines)
    assert.ok(Math.abs((readFigure(figure(check, name), `first\n${text}\n`) ?? NaN) - value) < 1e-9, text);
});

describe('the command', { skip: standInSkipReason }, () => {
  test('without a device it says so; with one it runs, stops at its budget, goes on, and refuses the report of another device', async () => {
    using standIn = new CudaStandIn();
    await using workspace = await Workspace.open();
    const acceptance = (env: Readonly<Record<string, string>>, ...args: readonly string[]): Promise<{ code: number; text: string }> => {
      const options = [
        '--model',
        fixture('random-sdxl'),
        '--work',
        workspace.file('work'),
        '--output',
        workspace.file('report.json'),
        ...args,
      ];
      return new Promise((resolve) => {
        const program = [packageFile('dist/bench/gpu/acceptance.js'), ...options];
        const given = { env: { ...process.env, ...env }, timeout: 120_000 };
        const child = execFile(process.execPath, program, given, (_, stdout, stderr) =>
          resolve({ code: child.exitCode ?? -1, text: stdout + stderr }),
        );
      });
    };
    const device = { ...standIn.environment(), SDXL_STAND_IN_DEVICES: '1' };
    const only = ['--only', 'build,step-1024-batch-1,patches-1024'];

    const none = await acceptance({ ...device, SDXL_STAND_IN_DEVICES: '0' }, ...only);
    assert.deepEqual([none.code, none.text.includes('error CUDA_UNAVAILABLE: the CUDA driver sees no device')], [3, true], none.text);

    const short = await acceptance(device, ...only, '--budget-minutes', '0.001');
    assert.equal(short.code, 75, short.text);
    assert.match(short.text, /left for another call, the budget is spent: build, patches-1024, step-1024-batch-1/u);

    const some = await acceptance(device, '--only', 'build');
    assert.equal(some.code, 0, some.text);
    assert.match(some.text, /\| build +\| passed +\| wall time [\d.]+ s \(≤ 120\)/u);

    const rest = await acceptance(device, ...only);
    assert.equal(rest.code, 0, rest.text);
    assert.doesNotMatch(rest.text, /^build: /mu);
    assert.match(rest.text, /\| patches-1024 +\| skipped +\| needs 2 GPUs, here is 1 +\|/u);
    assert.match(rest.text, /\| step-1024-batch-1 +\| passed +\| step 1 ms, of its libraries alone 1 ×/u);
    const { results } = JSON.parse(await readFile(workspace.file('report.json'), 'utf8')) as {
      results: { name: string; outcome: string }[];
    };
    assert.deepEqual(Object.fromEntries(results.map(({ name, outcome }) => [name, outcome])), {
      build: 'passed',
      'step-1024-batch-1': 'passed',
      'patches-1024': 'skipped',
    });

    const other = await acceptance({ ...device, SDXL_STAND_IN_NAME: 'Another GPU' }, ...only);
    assert.equal(other.code, 1);
    assert.match(other.text, /is of .* on Stand-in GPU, .*, this is .* on Another GPU.*give another --output/u);

    // A device on which nothing runs: missed, with what was said.
    const failing = await acceptance(
      { ...device, SDXL_STAND_IN_FAULT: 'cuStreamCreateWithPriority:1:fail:2:-1' },
      '--only',
      'build',
      '--again',
    );
    assert.equal(failing.code, 1, failing.text);
    assert.match(failing.text, /\| build +\| missed +\| .*ended with 3/u);
  });
});
