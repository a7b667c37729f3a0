/** `sdxl fetch`: a model of the Hugging Face Hub or of object storage into a directory, whole or not at all. */
import type { Command } from 'commander';
import { printable, SdxlError } from '../../errors/index.js';
import { formatBytes } from '../../launch/index.js';
import { BucketModel, fetchModel, HubModel, parseObjectUri, type RemoteModel } from '../../storage/index.js';
import type { Context } from '../context.js';
import { directory, integerIn, once } from '../numbers.js';
import { examples } from '../options.js';

interface Options {
  readonly repo?: string;
  readonly revision: string;
  readonly s3?: string;
  readonly endpoint?: string;
  readonly region?: string;
  readonly output: string;
  readonly retryFor: number;
}

const hub = 'https://huggingface.co';
const example = 'stabilityai/stable-diffusion-xl-base-1.0';
/** As in a job's spec.model.huggingFace.repo. */
const repository = /^[A-Za-z0-9][-A-Za-z0-9._]*\/[A-Za-z0-9][-A-Za-z0-9._]*$/u;

export function addFetchCommand(program: Command, context: Context): void {
  const command = program
    .command('fetch')
    .summary('fetch a model')
    .description(
      'Fetches a model in diffusers layout from the Hugging Face Hub or from a bucket, whole or not at all. A model that is there is kept; a fetch that was cut off is gone on with.',
    )
    .option('--repo <name>', 'repository of the Hub, owner/name', once)
    .option('--revision <name>', 'branch, tag or commit', 'main')
    .option('--s3 <uri>', 'a model in object storage, s3://bucket/prefix', once)
    .option('--endpoint <url>', `where the Hub (default: ${hub}), or a mirror of it, or object storage other than Amazon's is served`, once)
    .option('--region <name>', 'region of the bucket (default: AWS_REGION)', once)
    .option('--retry-for <seconds>', 'how long to try again where nothing arrives', integerIn(0, 86_400), 60)
    .requiredOption('--output <dir>', 'directory to make', directory)
    .addHelpText(
      'after',
      examples(
        `sdxl fetch --repo ${example} --output ./sdxl-base`,
        'sdxl fetch --s3 s3://models/sdxl-base --endpoint https://s3.example.com --output ./sdxl-base',
      ),
    );
  command.action(async (options: Options) => {
    await run(context, options, await sourceOf(command, options, context));
  });
}

async function sourceOf(command: Command, options: Options, { environment }: Context): Promise<RemoteModel> {
  const { repo, revision, s3, endpoint, region } = options;
  if ((repo === undefined) === (s3 === undefined)) {
    throw usage('--repo', 'give either --repo, a repository of the Hub, or --s3, a model in object storage');
  }
  if (endpoint !== undefined && !(/^https?:\/\/\S+$/u.test(endpoint) && URL.canParse(endpoint))) {
    throw usage('--endpoint', `--endpoint ${endpoint}: it must be an address such as https://s3.example.com`);
  }
  if (revision === '') throw usage('--revision', '--revision is empty: give a branch, a tag or a commit, or leave it out');
  if (repo !== undefined) {
    if (!repository.test(repo)) throw usage('--repo', `--repo ${repo}: it must have the form owner/name, such as ${example}`);
    if (region !== undefined) throw usage('--region', '--region is that of a bucket: give it with --s3');
    return new HubModel({ repo, revision, endpoint: endpoint ?? hub, token: environment.hubToken });
  }
  if (command.getOptionValueSource('revision') === 'cli') throw usage('--revision', '--revision is of repositories: give it with --repo');
  const place = parseObjectUri(s3 ?? '');
  if (place === undefined || place.bucket === '') throw usage('--s3', `--s3 ${s3 ?? ''}: it must have the form s3://bucket/prefix`);
  const { objectStorage } = environment;
  return await BucketModel.open({
    bucket: place.bucket,
    prefix: place.key,
    endpoint: endpoint ?? objectStorage.endpoint,
    region: region ?? objectStorage.region,
  });
}

async function run({ stderr, stdout, stop }: Context, { output, retryFor }: Options, model: RemoteModel): Promise<void> {
  try {
    const fetched = await fetchModel(model, output, {
      patience: {
        deadlineMs: retryFor * 1000,
        onRetry: (error, waitMs) => stderr.write(printable(`tried again in ${(waitMs / 1000).toFixed(1)} s: ${error.message}`) + '\n'),
      },
      signal: stop,
      file: ({ path, sizeBytes }, presentBytes) => {
        stderr.write(`${path}, ${formatBytes(sizeBytes)}${presentBytes === 0 ? '' : `, ${formatBytes(presentBytes)} of it are there`}\n`);
      },
      waiting: (host) => stderr.write(`waiting: ${host} fetches the same\n`),
    });
    stdout.write(fetched ? `${output}\n` : `${output} (kept)\n`);
  } finally {
    model.close();
  }
}

function usage(option: string, message: string): SdxlError {
  return new SdxlError('USAGE', message, { fields: { option } });
}
