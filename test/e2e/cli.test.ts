/** What the command line says: help, validation, usage errors, inspection. No rank is started here. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cp, mkdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { after, before, describe, test } from 'node:test';
import { packageFile } from '../../runtime/package-root.js';
import { fixture } from '../support/fixtures.js';
import { sdxl, smallJob, Workspace } from '../support/sdxl.js';

const model = fixture('random-sdxl');
let workspace: Workspace;

before(async () => {
  workspace = await Workspace.open();
  await writeFile(workspace.file('file'), '');
});
after(async () => {
  await workspace[Symbol.asyncDispose]();
});

test('help names every command and ends with 0', async () => {
  const { code, stdout } = await sdxl(['--help'], { cwd: workspace.path });
  assert.equal(code, 0);
  for (const command of ['run', 'build', 'bench', 'validate', 'inspect']) assert.match(stdout, new RegExp(`^ {2}${command} `, 'mu'));
});

const refusals: readonly {
  readonly name: string;
  readonly args: readonly string[];
  readonly env?: Record<string, string>;
  readonly code: number;
  readonly says: RegExp;
}[] = [
  {
    name: 'an unknown option',
    args: ['run', '--sead', '1'],
    code: 2,
    says: /error USAGE: unknown option '--sead'\n\(Did you mean --seed\?\)/u,
  },
  { name: 'an unknown command', args: ['frobnicate'], code: 2, says: /error USAGE: unknown command 'frobnicate'/u },
  { name: 'no model', args: ['run', '--prompt', 'x'], code: 2, says: /error JOB_INVALID: --model: is required/u },
  {
    name: 'a job for a cluster',
    args: ['run', '-f', packageFile('test/fixtures/cluster-job.yaml')],
    code: 2,
    says: /error JOB_INVALID: spec\.parallelism\.ranksPerPod, spec\.pods: only a cluster can honour this: .* with --local/u,
  },
  {
    name: 'a model in a claim',
    args: ['run', '-f', packageFile('test/fixtures/claimed-model.yaml'), '--local'],
    code: 2,
    says: /error JOB_INVALID: spec\.model\.claim: on the command line a model is a directory/u,
  },
  {
    name: 'images to inspect no mesh for',
    args: ['inspect', '--model', model, '--num-images', '4'],
    code: 2,
    says: /error USAGE: --num-images is for --mesh: give both/u,
  },
  {
    name: 'a graph as JSON',
    args: ['inspect', '--model', model, '--size', '64', '--graph', 'unet', '--json'],
    code: 2,
    says: /error USAGE: --graph prints a text of its own: leave out --json/u,
  },
  {
    name: 'a graph and a mesh at once',
    args: ['inspect', '--mesh', '-n', '2', '--graph', 'unet'],
    code: 2,
    says: /error USAGE: --graph and --mesh show different things/u,
  },
  {
    name: 'ranks that no mesh suits',
    args: smallJob(model, '-n', '3', '--mesh', 'Auto'),
    code: 2,
    says: /error MESH_INVALID: no mesh of 3 ranks suits the job .*3 x 1 x 1: 1 image for 3 replicas.*; 2 ranks would do/u,
  },
  {
    name: 'a mesh to choose without a number of ranks',
    args: smallJob(model, '--mesh', 'Auto'),
    code: 2,
    says: /error JOB_INVALID: -n: mesh Auto needs ranks/u,
  },
  {
    name: 'a size that is no pair',
    args: smallJob(model, '--original-size', '512x512'),
    code: 2,
    says: /error USAGE: option '--original-size <height,width>' argument '512x512' is invalid: height,width is expected; see sdxl run --help$/mu,
  },
  {
    name: 'a size without extent',
    args: smallJob(model, '--target-size', '0,64'),
    code: 2,
    says: /error JOB_INVALID: --target-size: 0 is out of range, it must be from 1 to 16384/u,
  },
  {
    name: 'one negative size',
    args: smallJob(model, '--negative-original-size', '64,64'),
    code: 2,
    says: /error JOB_INVALID: --negative-original-size: .* without negativeTargetSize: give both or neither/u,
  },
  {
    name: 'a second negative prompt alone',
    args: smallJob(model, '--negative-prompt-2', 'x'),
    code: 2,
    says: /error JOB_INVALID: --negative-prompt-2: negativePrompt2 needs negativePrompt/u,
  },
  {
    name: 'more layers skipped than the model has',
    args: smallJob(model, '--clip-skip', '2'),
    code: 2,
    says: /error JOB_INVALID: spec\.clipSkip is 2, and the model's text encoders have 2 and 3 layers: at most 1 can be skipped/u,
  },
  {
    name: 'a weight that is no number',
    args: smallJob(model, '--prompt-syntax', 'Weighted', '--negative-prompt', '(a:1.2.3)'),
    code: 2,
    says: /error JOB_INVALID: spec\.negativePrompt: the weight "1\.2\.3" is no number: .* write \(text:1\.3\)/u,
  },
  {
    name: 'no prompt',
    args: ['run', '--model', model],
    code: 2,
    says: /error JOB_INVALID: --prompt: exactly one of prompt and prompts must be given/u,
  },
  {
    name: 'a size that is no multiple',
    args: ['run', '--model', model, '--prompt', 'x', '--size', '100'],
    code: 2,
    says: /error JOB_INVALID: --size: 100 is not a multiple of 8, the nearest are 96 and 104/u,
  },
  {
    name: 'a height that cannot be split',
    args: ['run', '--model', model, '--prompt', 'x', '--size', '96', '-n', '2'],
    code: 2,
    says: /--size: height 96 cannot be split over patchDegree 2/u,
  },
  {
    name: 'a mesh that is not -n',
    args: smallJob(model, '-n', '4', '--cfg-degree', '2', '--patch-degree', '3'),
    code: 2,
    says: /error MESH_INVALID: --cfg-degree 2 × --patch-degree 3 = 6 ranks, but -n is 4/u,
  },
  {
    name: 'no guidance branch',
    args: smallJob(model, '--cfg-degree', '0'),
    code: 2,
    says: /error JOB_INVALID: --cfg-degree: 0 is out of range, it must be from 1 to 2\n$/u,
  },
  {
    name: 'an output that is no PNG',
    args: smallJob(model, '--output', 'x.jpg'),
    code: 2,
    says: /error JOB_INVALID: --output: "x\.jpg" must end in \.png, in lower case/u,
  },
  {
    name: 'an output at an address other than S3',
    args: smallJob(model, '--output', 'https://example.com/x.png'),
    code: 2,
    says: /error JOB_INVALID: --output: an address is no path of a file/u,
  },
  {
    name: 'a cache directory whose variable is not set',
    args: smallJob(model, '--cache-dir', ''),
    code: 2,
    says: /error USAGE: .*--cache-dir.* a directory is expected/u,
  },
  {
    name: 'an adapter that is not there',
    args: smallJob(model, '--lora', 'absent.safetensors'),
    code: 2,
    says: /error MODEL_NOT_FOUND: absent\.safetensors can't be opened \(ENOENT\): check its path/u,
  },
  {
    name: 'a model that is a file of another kind',
    args: smallJob(packageFile('package.json')),
    code: 2,
    says: /error MODEL_NOT_FOUND: .*it is a file, and of files \.safetensors checkpoints alone are read/u,
  },
  {
    name: 'noise levels of two kinds',
    args: smallJob(model, '--scheduler-option', 'useKarrasSigmas=true', '--scheduler-option', 'useExponentialSigmas=true'),
    code: 2,
    says: /useExponentialSigmas is true; .* supports: false, for noise levels are Karras' already/u,
  },
  {
    name: 'help on a command that is not there',
    args: ['help', 'absent'],
    code: 2,
    says: /error USAGE: unknown command 'absent'; see sdxl --help/u,
  },
  {
    name: 'a seed that no number here can be',
    args: smallJob(model, '--seed', '9007199254740993'),
    code: 2,
    says: /error USAGE: option '--seed <number>' argument '9007199254740993' is invalid: an integer of at most 9007199254740991 is expected/u,
  },
  {
    name: 'a scheduler that is nearly one',
    args: smallJob(model, '--scheduler', 'Euler'),
    code: 2,
    says: /error JOB_INVALID: --scheduler: "Euler" is not known, .*; did you mean EulerDiscrete\?$/mu,
  },
  {
    name: 'a repository without its owner',
    args: ['fetch', '--repo', 'a', '--output', 'd'],
    code: 2,
    says: /error USAGE: --repo a: it must have the form owner\/name, such as stabilityai/u,
  },
  {
    name: 'an endpoint that is no address of the web',
    args: ['fetch', '--repo', 'a/b', '--endpoint', 'ftp://x', '--output', 'd'],
    code: 2,
    says: /error USAGE: --endpoint ftp:\/\/x: it must be an address such as https:/u,
  },
  {
    name: 'a revision whose variable is not set',
    args: ['fetch', '--repo', 'a/b', '--revision', '', '--output', 'd'],
    code: 2,
    says: /error USAGE: --revision is empty: give a branch/u,
  },
  {
    name: 'a patience below zero',
    args: ['fetch', '--repo', 'a/b', '--retry-for', '-1', '--output', 'd'],
    code: 2,
    says: /error USAGE: option '--retry-for <seconds>' argument '-1' is invalid: an integer from 0 to 86400 is expected; see sdxl fetch --help$/mu,
  },
  {
    name: 'two files',
    args: ['run', '-f', 'a.yaml', '-f', 'b.json'],
    code: 2,
    says: /error USAGE: .*it may be given once, and 'a\.yaml' was given before/u,
  },
  {
    name: 'two prompts outside of a file',
    args: ['run', '--model', model, '--prompt', 'a boat', '--prompt', 'a rabbit'],
    code: 2,
    says: /error USAGE: option '--prompt <text>' .*it may be given once, and 'a boat' was given before/u,
  },
  {
    name: 'a field given twice',
    args: ['run', '-f', 'job.yaml', '--seed', '1'],
    code: 2,
    says: /error USAGE: --seed cannot be given with -f/u,
  },
  {
    name: 'a file that is not there',
    args: ['run', '-f', 'absent.yaml'],
    code: 2,
    says: /error USAGE: -f absent\.yaml: the file can't be read \(ENOENT/u,
  },
  {
    name: 'a model that is not there',
    args: smallJob('absent'),
    code: 2,
    says: /error MODEL_NOT_FOUND: absent is not an SDXL model.*; resolved against the working directory, absent is \/.*\/absent$/mu,
  },
  {
    name: 'configs that are not there',
    args: smallJob(`${model}/unet/diffusion_pytorch_model.safetensors`, '--tokenizer', model, '--config-from', 'absent'),
    code: 2,
    says: /error MODEL_NOT_FOUND: absent is not an SDXL model.*; resolved against the working directory, absent is \/.*\/absent$/mu,
  },
  {
    name: 'a model by its name on the Hub',
    args: smallJob('owner/some-model-1.0'),
    code: 2,
    says: /error MODEL_NOT_FOUND: .*; if it is a repository of the Hugging Face Hub: sdxl fetch --repo owner\/some-model-1\.0 --output owner\/some-model-1\.0$/mu,
  },
  {
    name: 'a model by its page on the Hub',
    args: smallJob('https://huggingface.co/owner/some-model-1.0/tree/main'),
    code: 2,
    says: /error MODEL_NOT_FOUND: .*; fetch it first: sdxl fetch --repo owner\/some-model-1\.0 --output owner\/some-model-1\.0$/mu,
  },
  {
    name: 'a model in object storage',
    args: smallJob('s3://bucket/sdxl'),
    code: 2,
    says: /error MODEL_NOT_FOUND: .*; fetch it first: sdxl fetch --s3 s3:\/\/bucket\/sdxl --output DIR$/mu,
  },
  {
    name: 'an output below a file',
    args: smallJob(model, '--output', 'file/x.png'),
    code: 3,
    says: /error OUTPUT_UNWRITABLE: .*file\/x\.png can't be written/u,
  },
  {
    name: 'more memory than there is',
    args: smallJob(model, '-n', '2', '--memory-limit', '300Mi'),
    code: 3,
    says: /error MEMORY_INSUFFICIENT: 2 ranks need \d+\.\d [MG]iB, each \d+\.\d MiB \(UNet .*\), at most 300\.0 MiB can be used here \(--memory-limit\)/u,
  },
  {
    name: 'an environment that is half a gang',
    args: smallJob(model),
    env: { RANK: '1' },
    code: 2,
    says: /error USAGE: the environment variable WORLD_SIZE is not set/u,
  },
  {
    name: 'ranks apart without a token',
    args: smallJob(model),
    env: { RANK: '1', WORLD_SIZE: '2', MASTER_ADDR: 'localhost' },
    code: 2,
    says: /error USAGE: SDXL_JOB_TOKEN_FILE is not set/u,
  },
  {
    name: 'a job of another size than the gang',
    args: ['run', '-f', packageFile('manifests/samples/sdxljob.yaml')],
    env: { RANK: '0', WORLD_SIZE: '3', MASTER_ADDR: 'localhost' },
    code: 2,
    says: /error MESH_INVALID: WORLD_SIZE is 3, and the job has 2 ranks/u,
  },
];
describe('refused before a rank is started', { concurrency: 3 }, () => {
  for (const { name, args, env, code, says } of refusals) {
    test(name, async () => {
      const finished = await sdxl(args, { cwd: workspace.path, ...(env === undefined ? {} : { env }) });
      assert.match(finished.stderr, says);
      assert.equal(finished.code, code);
      assert.equal(finished.stdout, '');
      assert.doesNotMatch(finished.stderr, / {4}at /u, 'no stack without --verbose');
      assert.doesNotMatch(finished.stderr, /pid=/u);
      assert.deepEqual(
        (await workspace.list()).filter((entry) => /\.(png|tmp)$/u.test(entry)),
        [],
      );
    });
  }
});

test('a working directory that was removed is told, and no defect', async () => {
  await mkdir(workspace.file('removed'));
  const command = [process.execPath, packageFile('dist/runtime/cli/main.js'), ...smallJob(model, '--output', 'x.png')];
  const { status, stderr } = spawnSync('sh', ['-c', 'rmdir "$PWD" && exec "$0" "$@"', ...command], {
    cwd: workspace.file('removed'),
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.equal(status, 2);
  assert.match(stderr, /^error USAGE: the working directory is not there any more .*: change to another\n$/u);
});

test('a metrics port in use is named, and another attempt is not advised', async () => {
  await using server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  const { code, stderr } = await sdxl(smallJob(model, '--metrics-port', String(port)), { cwd: workspace.path });
  assert.equal(code, 3);
  assert.match(
    stderr,
    new RegExp(`error METRICS_UNAVAILABLE: cannot serve metrics on 127\\.0\\.0\\.1:${String(port)}: .* --metrics-port`, 'u'),
  );
  assert.doesNotMatch(stderr, /new attempt/u);
});

test('the termination log holds what was wrong before a rank was started', async () => {
  const log = workspace.file('termination-log');
  for (const [args, more, expected] of [
    [smallJob('absent'), {}, 'MODEL_NOT_FOUND'],
    [smallJob(model, '--size', '100'), {}, 'JOB_INVALID'],
    [smallJob(model), { WORLD_SIZE: 'two' }, 'USAGE'],
  ] as const) {
    const { code } = await sdxl(args, { cwd: workspace.path, env: { TERMINATION_LOG: log, ...more } });
    assert.equal(code, 2);
    const told = JSON.parse(await readFile(log, 'utf8')) as Record<string, unknown>;
    assert.deepEqual([told['code'], told['exitCode'], told['retriable']], [expected, 2, false]);
  }
});

test('a termination log that can not be written does not undo what was made', async () => {
  const output = 'untold.png';
  const env = { TERMINATION_LOG: workspace.file('absent/termination-log') };
  const { code, stdout, stderr } = await sdxl(smallJob(model, '--output', output), { cwd: workspace.path, env });
  assert.equal(code, 0, stderr);
  assert.match(stdout, /untold\.png\n$/u);
  assert.match(stderr, /^the termination log could not be written: ENOENT/mu);
});

test('a truncated weights file is named', async () => {
  await cp(model, workspace.file('model'), { recursive: true });
  await truncate(workspace.file('model/unet/diffusion_pytorch_model.safetensors'), 100_000);
  const { code, stderr } = await sdxl(smallJob('model'), { cwd: workspace.path });
  assert.equal(code, 2);
  assert.match(stderr, /error WEIGHTS_INVALID: model\/unet\/diffusion_pytorch_model\.safetensors: /u);
});

test('validate reports every problem of every document with its line', async () => {
  const job = (name: string, ...lines: string[]): string =>
    ['apiVersion: sdxl.io/v1alpha1', 'kind: SdxlJob', `metadata: {name: ${name}}`, 'spec:', '  model: {path: m}', ...lines, ''].join('\n');
  await writeFile(
    workspace.file('jobs.yaml'),
    [job('good', '  prompt: x'), job('tall', '  prompt: x', '  height: 100'), job('typo', '  promt: x')].join('---\n'),
  );
  const { code, stdout, stderr } = await sdxl(['validate', '-f', 'jobs.yaml'], { cwd: workspace.path });
  assert.equal(code, 2);
  assert.deepEqual(
    stdout
      .trimEnd()
      .split('\n')
      .map((line) => line.replace(/^jobs\.yaml: /u, '').slice(0, 28)),
    ['good is valid', 'line 14: spec.height: 100 is', 'line 21: spec.promt: is an u'],
  );
  assert.match(stderr, /error JOB_INVALID: 2 problems in 1 file/u);
  const sample = await sdxl(['validate', '-f', packageFile('manifests/samples/sdxljob.yaml')], { cwd: workspace.path });
  assert.equal(sample.code, 0, sample.stderr);
});

test('validate goes on behind files that can not be read', async () => {
  const sample = packageFile('manifests/samples/sdxljob.yaml');
  await writeFile(workspace.file('latin.yaml'), Buffer.from([0x70, 0xe9]));
  const { code, stdout, stderr } = await sdxl(['validate', '-f', 'absent.yaml', sample, 'latin.yaml', '.'], { cwd: workspace.path });
  assert.equal(code, 2);
  assert.deepEqual(
    stdout.split('\n').map((line) => line.replace(/ \(.*|: save .*/u, '')),
    [
      "absent.yaml: the file can't be read",
      `${sample}: flowers-rabbit is valid`,
      'latin.yaml: it is no text in UTF-8',
      ".: the file can't be read",
      '',
    ],
  );
  assert.match(stderr, /error JOB_INVALID: 3 problems in 4 files$/mu);
  const alone = await sdxl(['validate', '-f', 'absent.yaml'], { cwd: workspace.path });
  assert.equal(alone.code, 2);
  assert.match(alone.stderr, /error USAGE: -f absent\.yaml: the file can't be read/u);
});
