/** What a GPU host must show: one command each, the figure in what it prints, and the gate. Runs nothing itself. */
import { packageFile } from '../../../runtime/package-root.js';

export interface Check {
  readonly name: string;
  /** For people. */
  readonly what: string;
  readonly gpus: 1 | 2;
  /** A program it needs besides Node, and how to see that it is there. */
  readonly needs?: readonly [program: string, ...args: readonly string[]];
  /** After this it has failed. */
  readonly deadlineMinutes: number;
  /** Folders that are not there when it begins. */
  readonly fresh?: readonly string[];
  /** Run one after the other; the first that fails ends the check. */
  readonly commands: readonly (readonly string[])[];
  /** Numbers in the output of the last command; the figure is missed where one is not there. */
  readonly figures?: readonly Figure[];
}

export interface Figure {
  readonly name: string;
  readonly unit: string;
  /** Its first group is the number. Of several matches the last counts, or with `sum` all. */
  readonly pattern: RegExp;
  readonly sum?: boolean;
  /** None: it is reported only. */
  readonly most?: number;
  readonly least?: number;
}

export interface CheckOptions {
  /** Full size: SDXL's own configuration. */
  readonly model: string;
  /** Kept between checks. */
  readonly work: string;
  readonly python: string;
}

/** In the order they run: what shows most in the least time first. */
export function acceptanceChecks({ model, work, python }: CheckOptions): readonly Check[] {
  const program = (name: string, ...args: readonly string[]): readonly string[] => [
    process.execPath,
    packageFile(`dist/bench/gpu/${name}.js`),
    ...args,
  ];
  const cli = (...args: readonly string[]): readonly string[] => [process.execPath, packageFile('dist/runtime/cli/main.js'), ...args];
  const suite = (...paths: readonly string[]): readonly string[] => [process.execPath, packageFile('dist/test/run.js'), ...paths];
  const cache = ['--cache', `${work}/cache`];
  const full = ['--model', model, ...cache];
  const references = (mode: string): string => `${work}/references-${mode}`;
  const parity = (name: string, what: string, gpus: 1 | 2, mode: string, ...args: readonly string[]): Check => {
    const timing = mode === 'Synchronous' ? [] : ['--mode', mode, '-n', '2'];
    return {
      name,
      what,
      gpus,
      deadlineMinutes: 25,
      commands: [
        program('small-model-parity', '--make-reference', references(mode), '--keep', ...timing),
        program('small-model-parity', '--against', references(mode), '--mode', mode, ...cache, ...args),
      ],
      figures: [
        { name: 'least PSNR', unit: 'dB', pattern: /least ([\d.]+) dB/gu, least: 40 },
        { name: 'median', unit: 'dB', pattern: /median ([\d.]+) dB/gu },
      ],
    };
  };
  const step = (size: number, batch: number, figures: readonly Figure[]): Check => ({
    name: `step-${String(size)}${batch === 1 ? '-batch-1' : ''}`,
    what: `${batch === 1 ? 'step with one branch' : 'CFG step'}, ${String(size)}², with its library kernels alone in the same run`,
    gpus: 1,
    deadlineMinutes: 12,
    commands: [program('step', ...full, '--size', String(size), '--batch', String(batch), '--profile')],
    figures,
  });
  const stepMs = (most?: number): Figure => ({
    name: 'step',
    unit: 'ms',
    pattern: /median ([\d.]+) ms of/gu,
    ...(most === undefined ? {} : { most }),
  });
  const floor = (most?: number): Figure => ({
    name: 'of its libraries alone',
    unit: '×',
    pattern: /alone [\d.]+ ms: the step is ([\d.]+) × that/gu,
    ...(most === undefined ? {} : { most }),
  });
  const decode = (size: number, most: number): Check => ({
    name: `decode-${String(size)}`,
    what: `VAE decoder, network and copy to the host, ${String(size)}²`,
    gpus: 1,
    deadlineMinutes: 8,
    commands: [program('decode', ...full, '--size', String(size))],
    figures: [
      { name: 'decode', unit: 'ms', pattern: /network and copy ([\d.]+) ms/gu, most },
      { name: 'check on the host', unit: 'ms', pattern: /check on the host ([\d.]+) ms/gu },
    ],
  });
  const sanitizer = (name: string, tool: string, more: string, pattern: RegExp): Check => {
    const either = (...names: readonly string[]): string => [...names, ...(more === '' ? [] : [more])].join('|');
    const alike = ['softmax', 'pointwise', 'upsample', 'geglu', 'joinMoments', 'boundaryRows', 'embedding', 'sinusoid', 'selectToken'];
    const ownKernels = `regex=${either(...alike, 'group', 'layerNorm', 'causal')}`;
    const operations = either(...alike, '[nN]orm', 'groupMoments', 'attention');
    return {
      name,
      what: `compute-sanitizer ${tool} over the operations’ own kernels`,
      gpus: 1,
      needs: ['compute-sanitizer', '--version'],
      deadlineMinutes: 40,
      commands: [
        [
          ...['compute-sanitizer', '--tool', tool, '--target-processes', 'all', '--error-exitcode', '9', '--kernel-name', ownKernels],
          ...[process.execPath, `--test-name-pattern=${operations}`, packageFile('dist/test/gpu/operators.test.js')],
        ],
      ],
      figures: [
        // None where the pattern meets no test.
        { name: 'tests', unit: '', pattern: /^[#ℹ] pass (\d+)$/gmu, least: 20 },
        { name: 'errors', unit: '', pattern, sum: true, most: 0 },
      ],
    };
  };
  const split = (name: string, cfg: number, size: number, most: number): Check => ({
    name,
    what: `step on two GPUs, ${cfg === 2 ? 'guidance branches apart' : 'synchronous patches'}, ${String(size)}²`,
    gpus: 2,
    deadlineMinutes: 12,
    commands: [program('displaced-step', ...full, '--modes', 'Synchronous', '--cfg-degree', String(cfg), '--sizes', String(size))],
    figures: [{ name: 'step', unit: 'ms', pattern: /Synchronous: median ([\d.]+) ms/gu, most }],
  });
  return [
    parity('parity-1', 'images of the small model (sizes, samplers, long prompts, steps) against fp32', 1, 'Synchronous'),
    step(1024, 2, [
      stepMs(29),
      floor(1.15),
      { name: 'memory', unit: 'GiB', pattern: /device memory in use: ([\d.]+) GiB/gu, most: 12e9 / 2 ** 30 },
    ]),
    decode(1024, 45),
    {
      name: 'images',
      what: 'whole images, 1024², 50 steps, 25 in a row: latency and drift',
      gpus: 1,
      deadlineMinutes: 8,
      commands: [program('drift', ...full)],
      figures: [
        { name: 'median', unit: 's', pattern: /all \d+: median ([\d.]+) s/gu, most: 1.6 },
        { name: 'last five to first five', unit: '%', pattern: /last five [\d.]+ s: ([+−][\d.]+) %/gu, most: 2 },
      ],
    },
    {
      name: 'faults',
      what: 'no memory, killed process, damaged engine, timing cache, same bits, on the device',
      gpus: 1,
      deadlineMinutes: 15,
      commands: [program('device-faults')],
    },
    {
      name: 'build',
      what: 'engines of 1024² from nothing, in all',
      gpus: 1,
      deadlineMinutes: 8,
      commands: [cli('build', '--backend', 'Cuda', '--model', model, '--size', '1024', '--cache-dir', `${work}/cold`)],
      fresh: [`${work}/cold`],
      figures: [{ name: 'wall time', unit: 's', pattern: /^wall ([\d.]+) s$/gmu, most: 120 }],
    },
    {
      name: 'load',
      what: 'engines and weights of 1024² ready from the cache',
      gpus: 1,
      deadlineMinutes: 8,
      commands: [0, 1].map(() =>
        cli(
          ...['run', '--backend', 'Cuda', '--model', model, '--size', '1024', '--num-inference-steps', '2', '--prompt', 'flowers, rabbit'],
          ...['--no-resume', '--cache-dir', `${work}/cold`, '--output', `${work}/loaded.png`],
        ),
      ),
      figures: [{ name: 'loading', unit: 's', pattern: /^engine \w+: cached, loaded in ([\d.]+) (?:s|ms)$/gmu, sum: true, most: 15 }],
    },
    split('split-1024', 2, 1024, 17.5),
    split('patches-1024', 1, 1024, 22),
    parity('parity-2-split', 'the same on two GPUs, guidance branches apart', 2, 'Synchronous', '-n', '2', '--cfg-degree', '2'),
    parity('parity-2-patches', 'the same on two GPUs, synchronous patches', 2, 'Synchronous', '-n', '2'),
    parity('parity-2-displaced', 'displaced on two GPUs, on the device and by the host’s loop', 2, 'CorrectedAsyncGn', '-n', '2'),
    step(2048, 2, [stepMs(152), floor()]),
    decode(2048, 190),
    split('patches-2048', 1, 2048, 88),
    step(1024, 1, [stepMs(), floor()]),
    {
      name: 'rank-error',
      what: 'latents of two GPUs against one’s after each step, full size',
      gpus: 2,
      deadlineMinutes: 10,
      commands: [program('rank-error', '--model', model, '--steps', '8', '--cfg-degree', '1')],
      figures: [{ name: 'a step’s change, most', unit: '', pattern: /a step's change: \S+ to ([\d.e+-]+)/gu, most: 1e-2 }],
    },
    {
      name: 'fp16-error',
      what: 'full-size UNet against torch in fp32, in multiples of what torch in fp16 is off',
      gpus: 1,
      needs: [python, '-c', 'import torch, diffusers, safetensors'],
      deadlineMinutes: 15,
      commands: [[python, packageFile('bench/gpu/fp16_error.py'), '--node', process.execPath, ...full]],
      figures: [{ name: 'worst ratio', unit: '×', pattern: /worst ratio ([\d.]+)/gu, most: 1.5 }],
    },
    {
      name: 'operators',
      what: 'every operation of full-size SDXL by itself, libraries and networks on the device',
      gpus: 1,
      deadlineMinutes: 40,
      commands: [suite('test/gpu')],
      figures: [{ name: 'passed', unit: 'tests', pattern: /^(\d+) passed, 0 failed$/gmu, least: 20 }],
    },
    {
      name: 'library-faults',
      what: 'every call of NVIDIA’s libraries failing in turn, and libraries that are missing or too old, against a stand-in',
      gpus: 1,
      needs: ['cc', '--version'],
      deadlineMinutes: 10,
      commands: [suite('test/fault/cuda-calls.test.ts', 'test/fault/cuda-runs.test.ts', 'test/unit/backends/cuda')],
      figures: [{ name: 'passed', unit: 'tests', pattern: /^(\d+) passed, 0 failed$/gmu, least: 20 }],
    },
    sanitizer('sanitizer', 'memcheck', '[gG]ated', /ERROR SUMMARY: (\d+) error/gu),
    // Not of the gated product: racecheck fails itself on that kernel's bulk copies.
    sanitizer('races', 'racecheck', '', /RACECHECK SUMMARY: (\d+) hazard/gu),
  ];
}

/** `ms` and `s` as they stand: sums of both are taken in seconds. */
export function readFigure({ pattern, sum = false }: Figure, output: string): number | undefined {
  const found = [...output.matchAll(pattern)].map(
    (match) => Number(match[1]?.replace('−', '-')) * (/\d ms$/u.test(match[0]) && sum ? 1e-3 : 1),
  );
  if (found.length === 0) return undefined;
  return sum ? found.reduce((total, value) => total + value, 0) : found.at(-1);
}

export function isMissed(
  { most = Number.POSITIVE_INFINITY, least = Number.NEGATIVE_INFINITY }: Figure,
  value: number | undefined,
): boolean {
  return value === undefined || !(value <= most && value >= least);
}
