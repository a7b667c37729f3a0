/**
 * The UNet's output for given inputs, by one of the backends:
 * `node dist/bench/gpu/unet-output.js --model DIR --inputs FILE --output FILE [--backend Cuda] [--cache DIR] [--tactics 1]`.
 *
 * The inputs are a safetensors file of fp32 tensors: for every case NAME `NAME.sample`, `NAME.timestep` `[1]`,
 * `NAME.encoder_hidden_states`, `NAME.text_embeds` and `NAME.time_ids`. The output file holds `NAME` of each. See bench/gpu/fp16_error.py.
 */
import { parseArgs } from 'node:util';
import { Model, planComponents } from '../../runtime/pipeline/index.js';
import { floatOutput } from '../../runtime/pipeline/bands.js';
import { SafetensorsFile, writeSafetensors, type TensorToWrite } from '../../runtime/weights/index.js';
import { openBackend } from './open-backend.js';

const { values } = parseArgs({
  options: {
    model: { type: 'string' },
    inputs: { type: 'string' },
    output: { type: 'string' },
    backend: { type: 'string', default: 'Cuda' },
    cache: { type: 'string', default: '/tmp/sdxl-bench-cache' },
    tactics: { type: 'string', default: '1' },
  },
});
const { model: directory, inputs: inputFile, output: outputFile } = values;
if (directory === undefined || inputFile === undefined || outputFile === undefined)
  throw new Error('--model, --inputs and --output are required');

const parts = ['sample', 'timestep', 'encoder_hidden_states', 'text_embeds', 'time_ids'] as const;

await using model = await Model.open(directory);
const { components } = planComponents(model, { cfg: 1, patch: 1 }, 0);
const backend = await openBackend(values);
const executor = await backend.load(await backend.prepare(components.unet));
await using file = await SafetensorsFile.open(inputFile);
const cases = [...file.tensors.keys()].flatMap((name) => (name.endsWith('.sample') ? [name.slice(0, -'.sample'.length)] : []));
if (cases.length === 0) throw new Error(`${inputFile} holds no case: no tensor is named NAME.sample`);
const results: TensorToWrite[] = [];
for (const name of cases) {
  const inputs = await Promise.all(parts.map(async (part) => [part, await file.readFloat32(`${name}.${part}`)] as const));
  const { outputs, timing } = await executor.run(Object.fromEntries(inputs));
  const { shape, data } = floatOutput(outputs, 'out_sample');
  results.push({ name, dtype: 'F32', shape, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) });
  console.log(`${name}: [${shape.join(', ')}] in ${timing.totalSeconds.toFixed(2)} s`);
}
await writeSafetensors(outputFile, results);
await executor.close();
await backend.close();
