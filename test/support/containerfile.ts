/** Containerfiles without a builder: their instructions, and the file system their last stage would have, put together from this checkout. */
import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cp, mkdir, readFile, symlink } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export interface Instruction {
  readonly name: string;
  readonly arguments: string;
}

export interface Stage {
  /** After ARGs are filled in. */
  readonly base: string;
  readonly name: string;
  readonly instructions: readonly Instruction[];
}

export async function readStages(file: string): Promise<readonly Stage[]> {
  const stages: { base: string; name: string; instructions: Instruction[] }[] = [];
  const values = new Map<string, string>();
  for (const instruction of parse(await readFile(file, 'utf8'))) {
    if (instruction.name === 'FROM') {
      const [base = '', , name = ''] = instruction.arguments.split(/\s+/u);
      stages.push({ base: base.replaceAll(/\$\{(\w+)\}/gu, (_, key: string) => values.get(key) ?? ''), name, instructions: [] });
    } else if (instruction.name === 'ARG') {
      const [key = '', value = ''] = instruction.arguments.split('=');
      values.set(key, value);
    } else {
      stages.at(-1)?.instructions.push(instruction);
    }
  }
  return stages;
}

function parse(text: string): readonly Instruction[] {
  return text
    .replaceAll(/^\s*#.*\n/gmu, '')
    .replaceAll(/\\\n\s*/gu, ' ')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line) => {
      const [, name = '', rest = ''] = /^(\w+)\s+(.*)$/u.exec(line.trim()) ?? [];
      return { name, arguments: rest };
    });
}

export interface Copy {
  /** Name of the stage, or '' for the build's context. */
  readonly from: string;
  readonly sources: readonly string[];
  readonly target: string;
}

export function copies(stage: Stage): readonly Copy[] {
  return stage.instructions.filter(({ name }) => name === 'COPY').map((instruction) => copyOf(instruction));
}

function copyOf(instruction: Instruction): Copy {
  const [, from = '', rest = ''] = /^(?:--from=(\S+)\s+)?(.*)$/u.exec(instruction.arguments) ?? [];
  const paths = rest.split(/\s+/u);
  return { from, sources: paths.slice(0, -1), target: paths.at(-1) ?? '' };
}

/**
 * Puts a stage together under `root`, stages it copies from included. What stage `build` makes is taken from this checkout's own build, and of
 * base images there is nothing.
 */
export async function assemble(stages: readonly Stage[], stage: Stage, root: string): Promise<void> {
  let directory = '/';
  const inside = (path: string): string => join(root, resolve(directory, path));
  for (const instruction of stage.instructions) {
    if (instruction.name === 'WORKDIR') {
      directory = instruction.arguments;
      await mkdir(inside('.'), { recursive: true });
    } else if (instruction.name === 'COPY') {
      await copy(stages, copyOf(instruction), root, inside);
    } else if (instruction.name === 'RUN') {
      await run(instruction.arguments, root, inside);
    }
  }
}

async function copy(
  stages: readonly Stage[],
  { from, sources, target }: Copy,
  root: string,
  inside: (path: string) => string,
): Promise<void> {
  const origin = stages.find(({ name }) => from !== '' && name === from);
  let place = (path: string): string => path;
  if (from === 'build') place = (path) => path.replace(/^\/src\//u, '');
  else if (origin !== undefined) {
    const other = `${root}.${from}`;
    if (!existsSync(other)) await assemble(stages, origin, other);
    place = (path) => join(other, path);
  }
  for (const source of sources) {
    // A program of the base image: this machine's does instead.
    if (source.startsWith('/usr/')) continue;
    const intoFolder = target.endsWith('/') || sources.length > 1;
    await cp(place(source), intoFolder ? join(inside(target), basename(source)) : inside(target), {
      recursive: true,
      verbatimSymlinks: true,
    });
  }
}

/** Runs a command with relative paths in the working directory, but links are made under `root`. */
async function run(command: string, root: string, inside: (path: string) => string): Promise<void> {
  for (const part of command.split('&&').map((text) => text.trim())) {
    const [program = '', ...args] = part.split(/\s+/u);
    if (program === 'ln') {
      const [, target = '', link = ''] = args;
      await mkdir(join(root, link, '..'), { recursive: true });
      await symlink(join(root, target), join(root, link));
    } else {
      const env = { ...process.env, npm_config_prefer_offline: 'true' };
      await execute(program, args, { cwd: inside('.'), env, timeout: 300_000, maxBuffer: 1 << 24 });
    }
  }
}
