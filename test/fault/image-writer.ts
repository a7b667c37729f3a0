/** A process that writes images over and over, for tests that kill it: `node image-writer.js PATH [count]`. */
import { writeImage } from '../../runtime/image/index.js';
import { float32, Generator } from '../../runtime/tensor/index.js';

const [path = '', count = 'Infinity'] = process.argv.slice(2);
// So small that most of the time goes into writing.
const shape = [3, 8, 8];
const image = float32(
  shape,
  new Generator(1).randn(shape).data.map((value) => Math.min(Math.max(value / 4 + 0.5, 0), 1)),
);
const request = { prompt: 'flowers', seed: 1n, numInferenceSteps: 1, guidanceScale: 1, width: 8, height: 8 };
for (let index = 0; index < Number(count); index++) {
  await writeImage(path, image, { ...request, scheduler: 'EulerDiscreteScheduler', model: 'none', version: '0' });
  if (index === 0) console.log('writing');
}
