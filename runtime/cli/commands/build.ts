/** `sdxl build`: engines into the cache, so that a later run only loads them. */
import type { Command } from 'commander';
import type { RankMessage } from '../../launch/index.js';
import type { Context } from '../context.js';
import { follow, type RunOptions } from '../follow.js';
import { addBackendOption, addMeshOptions, addModelOption, addSizeOptions, jobFromOptions, type JobOptions } from '../job-options.js';
import { addRunOptions, examples } from '../options.js';
import { table } from '../table.js';

export function addBuildCommand(program: Command, context: Context): void {
  const command = program
    .command('build')
    .summary('build engines')
    .description(
      'Builds the engines of a model for a number of ranks into the cache. Engines of the Onnx backend serve every size and every rank; --size is checked against the model and the mesh.',
    );
  addModelOption(command);
  addSizeOptions(command);
  addMeshOptions(command);
  addBackendOption(command);
  addRunOptions(command);
  command.addHelpText('after', examples('sdxl build --model ./sdxl-base --size 1024', 'sdxl build --model ./sdxl-base --size 1024 -n 2'));
  command.action(async (options: RunOptions & JobOptions) => {
    // The contract asks for a prompt; engines do not depend on it.
    const job = jobFromOptions({ ...options, prompt: '-' }, context.environment);
    const rows: string[][] = [];
    await follow(context, {
      task: { kind: 'build' },
      job,
      options,
      images: 1,
      onMessage: (_rank: number, message: RankMessage) => {
        if (message.type !== 'event' || message.event.type !== 'engine') return;
        const { component, cached, buildSeconds } = message.event;
        rows.push([component, cached ? 'cached' : 'built', buildSeconds.toFixed(3)]);
      },
    });
    context.stdout.write(`${table(['engine', 'state', 'seconds'], rows)}\n`);
  });
}
