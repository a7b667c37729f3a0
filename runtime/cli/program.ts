/** The command line's shape: commands, their options and help, and how usage errors are told. */
import { Command, CommanderError } from 'commander';
import { SdxlError } from '../errors/index.js';
import { packageVersion } from '../package-root.js';
import { addBenchCommand } from './commands/bench.js';
import { addBuildCommand } from './commands/build.js';
import { addFetchCommand } from './commands/fetch.js';
import { addInspectCommand } from './commands/inspect.js';
import { addRunCommand } from './commands/run.js';
import { addValidateCommand } from './commands/validate.js';
import { addVerifyCommand } from './commands/verify.js';
import type { Context } from './context.js';

/** @throws SdxlError what the command failed with; USAGE for arguments that are not understood */
export async function runProgram(context: Context, args: readonly string[]): Promise<void> {
  const program = new Command('sdxl')
    .description('Stable Diffusion XL across many ranks at the lowest latency of one image.')
    .version(packageVersion)
    .option('--verbose', 'log everything, with stack traces (SDXL_LOG_LEVEL=debug)')
    .showSuggestionAfterError()
    .helpCommand(true);
  configure(program, context);
  addRunCommand(program, context);
  addBuildCommand(program, context);
  addBenchCommand(program, context);
  addValidateCommand(program, context);
  addInspectCommand(program, context);
  addFetchCommand(program, context);
  addVerifyCommand(program, context);
  for (const command of program.commands) configure(command, context);
  try {
    await program.parseAsync([...args], { from: 'user' });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version were shown: that is what was asked for.
    if (error.exitCode === 0 || (error.code === 'commander.help' && args.length === 0)) return;
    // Its own words for help on a command that is not there are no message.
    const message = error.code === 'commander.help' ? `unknown command '${args.at(-1) ?? ''}'` : inOneSentence(error.message);
    const command = program.commands.find((known) => known.name() === args.find((argument) => !argument.startsWith('-')));
    const help = command === undefined ? 'sdxl --help' : `sdxl ${command.name()} --help`;
    throw new SdxlError('USAGE', `${message}; see ${help}`, { fields: { code: error.code } });
  }
}

/** `error: option '--x <y>' argument 'z' is invalid. a number is expected.`: what is expected follows a colon, as everywhere else. */
function inOneSentence(message: string): string {
  return message
    .replace(/^error: /u, '')
    .replace(/^(too many arguments.*)\.$/su, '$1')
    .replace(/ is invalid\. (.*)\.$/su, (_, expected: string) => ` is invalid: ${expected.slice(0, 1).toLowerCase()}${expected.slice(1)}`);
}

function configure(command: Command, { stdout, stderr }: Context): void {
  command.exitOverride().configureOutput({
    writeOut: (text) => stdout.write(text),
    writeErr: (text) => stderr.write(text),
    // Errors are told once, by main.
    outputError: () => undefined,
  });
  // Options of the program may follow the command's name.
  if (command.parent !== null) command.option('--verbose', 'log everything, with stack traces (SDXL_LOG_LEVEL=debug)');
}
