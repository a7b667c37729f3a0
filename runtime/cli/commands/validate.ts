/** `sdxl validate`: every problem of every document, without running anything. */
import type { Command } from 'commander';
import { formatJobProblem, validateSdxlJob } from '../../../crds/index.js';
import { SdxlError } from '../../errors/index.js';
import { jobName } from '../../launch/index.js';
import type { Context } from '../context.js';
import { readJobText, splitDocuments } from '../job-file.js';
import { examples } from '../options.js';

export function addValidateCommand(program: Command, context: Context): void {
  program
    .command('validate')
    .summary('check job files')
    .description('Checks SdxlJob files as an API server would, rules between fields included, and reports every problem of every document.')
    .requiredOption('-f, --file <files...>', 'files in YAML or JSON; - reads the standard input')
    .addHelpText('after', examples('sdxl validate -f job.yaml', 'sdxl validate -f manifests/samples/*.yaml'))
    .action(async ({ file: files }: { readonly file: readonly string[] }) => {
      let problems = 0;
      for (const file of files) problems += await validateFile(context, file, files.length === 1);
      if (problems > 0) {
        const message = `${String(problems)} ${problems === 1 ? 'problem' : 'problems'} in ${String(files.length)} ${files.length === 1 ? 'file' : 'files'}`;
        throw new SdxlError('JOB_INVALID', message, { fields: { problems } });
      }
    });
}

/** The number of its problems. @throws SdxlError USAGE where the only file can't be read: nothing else is to be told; or the signal's reason */
async function validateFile({ stdout, stop }: Context, file: string, only: boolean): Promise<number> {
  let content: string;
  try {
    content = await readJobText(file, stop);
  } catch (error) {
    if (only || !(error instanceof SdxlError) || error.code !== 'USAGE') throw error;
    stdout.write(`${error.message.replace(/^-f /u, '')}\n`);
    return 1;
  }
  let problems = 0;
  for (const document of splitDocuments(content)) {
    const validation = validateSdxlJob(document);
    if (validation.ok) {
      stdout.write(`${file}: ${jobName(validation.job)} is valid\n`);
      continue;
    }
    problems += validation.errors.length;
    for (const problem of validation.errors) stdout.write(`${file}: ${formatJobProblem(problem)}\n`);
  }
  return problems;
}
