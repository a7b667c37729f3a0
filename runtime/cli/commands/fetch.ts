/** `sdxl fetch`: a model of the Hugging Face Hub, or of a mirror of it, into a directory: whole or not at all. */
import { createWriteStream } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, stat } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { Command } from 'commander';
import { SdxlError } from '../../errors/index.js';
import { formatBytes } from '../../launch/index.js';
import type { Context } from '../context.js';
import { examples } from '../options.js';

interface Options {
  readonly repo: string;
  readonly revision: string;
  readonly endpoint: string;
  readonly output: string;
}

interface Entry {
  readonly type: string;
  readonly path: string;
  readonly size: number;
}

/** What a diffusers directory consists of; checkpoints at the root are the same weights once more. */
const wanted = /^(?:model_index\.json|[^/]+\/[^/]+\.(?:json|txt|safetensors))$/u;

export function addFetchCommand(program: Command, context: Context): void {
  program
    .command('fetch')
    .summary('fetch a model')
    .description('Fetches a model in diffusers layout from the Hugging Face Hub, whole or not at all. A directory that is there is kept.')
    .requiredOption('--repo <name>', 'repository, owner/name')
    .option('--revision <name>', 'branch, tag or commit', 'main')
    .option('--endpoint <url>', 'where the Hub or a mirror of it is served', 'https://huggingface.co')
    .requiredOption('--output <dir>', 'directory to make')
    .addHelpText('after', examples('sdxl fetch --repo stabilityai/stable-diffusion-xl-base-1.0 --output ./sdxl-base'))
    .action(async (options: Options) => {
      await fetchModel(context, options);
    });
}

async function fetchModel({ environment, stderr, stdout, stop }: Context, options: Options): Promise<void> {
  const { repo, revision, endpoint, output } = options;
  if (await exists(output)) {
    stdout.write(`${output} (kept)\n`);
    return;
  }
  const headers: Record<string, string> = environment.hubToken === undefined ? {} : { authorization: `Bearer ${environment.hubToken}` };
  const at = encodeURIComponent(revision);
  const listing = await request(`${endpoint}/api/models/${repo}/tree/${at}?recursive=true`, headers, options, stop);
  const entries = ((await listing.json()) as readonly Entry[]).filter(({ type, path }) => type === 'file' && wanted.test(path));
  if (!entries.some(({ path }) => path === 'model_index.json')) {
    throw notFound(options, 'it has no model_index.json: it is no model in diffusers layout');
  }
  await mkdir(dirname(output), { recursive: true });
  const partial = await mkdtemp(`${output}.partial-`);
  try {
    for (const { path, size } of entries) {
      stderr.write(`${path}, ${formatBytes(size)}\n`);
      const file = join(partial, normalize(`/${path}`));
      await mkdir(dirname(file), { recursive: true });
      const { body } = await request(`${endpoint}/${repo}/resolve/${at}/${path}`, headers, options, stop);
      if (body !== null) await pipeline(Readable.fromWeb(body), createWriteStream(file), { signal: stop });
      const { size: written } = await stat(file);
      if (written !== size) throw interrupted(options, `${path} has ${String(written)} bytes, and ${String(size)} were announced`);
    }
    await rename(partial, output).catch(async (error: unknown) => {
      // Another pod was first; what it fetched is the same.
      if (!(await exists(output))) throw error;
    });
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
  stdout.write(`${output}\n`);
}

async function request(url: string, headers: Readonly<Record<string, string>>, options: Options, signal: AbortSignal): Promise<Response> {
  const response = await fetch(url, { headers, signal }).catch((cause: unknown) => {
    signal.throwIfAborted();
    throw interrupted(options, `${url} can't be reached`, cause);
  });
  if (response.ok) return response;
  await response.body?.cancel();
  const { status } = response;
  if (status >= 500 || status === 429) throw interrupted(options, `${url} answered ${String(status)}`);
  const advice = status === 401 || status === 403 ? ': give a token that may read it as HF_TOKEN (model.huggingFace.tokenSecret)' : '';
  throw notFound(options, `${url} answered ${String(status)}${advice}`);
}

function notFound({ repo, revision }: Options, why: string): SdxlError {
  return new SdxlError('MODEL_NOT_FOUND', `${repo} at ${revision} can't be fetched: ${why}`, { fields: { repo, revision } });
}

function interrupted({ repo, revision }: Options, why: string, cause?: unknown): SdxlError {
  return new SdxlError('ADDRESS_UNAVAILABLE', `${repo} at ${revision} was not fetched: ${why}`, { fields: { repo, revision }, cause });
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
