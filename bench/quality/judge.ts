/**
 * The judge of pictures of the small model: its classifier (models/train/classifier.py), as one ONNX model over the weights where they
 * lie. A picture counts as recognised where the classes it holds most likely, as many as were asked for, are exactly those.
 */
import { readFile } from 'node:fs/promises';
import { dirname, basename } from 'node:path';
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { ModelWriter } from '../../runtime/backends/onnx/model-writer.js';
import { silenceTelemetry } from '../../runtime/backends/onnx/telemetry.js';
import type { FloatImage } from '../../runtime/image/index.js';
import { packageFile, packageVersion } from '../../runtime/package-root.js';
import { SafetensorsFile } from '../../runtime/weights/index.js';

const side = 128;
const blocks = 4;
const logitOffset = -4;

export class Judge {
  readonly classes: readonly string[];
  readonly #session: InferenceSession;

  private constructor(classes: readonly string[], session: InferenceSession) {
    this.classes = classes;
    this.#session = session;
  }

  static async open(directory = packageFile('models/classifier')): Promise<Judge> {
    const { classes } = JSON.parse(await readFile(`${directory}/config.json`, 'utf8')) as { classes: string[] };
    await using weights = await SafetensorsFile.open(`${directory}/model.safetensors`);
    silenceTelemetry();
    const session = await InferenceSession.create(network(weights, classes.length), {
      intraOpNumThreads: 1,
      logSeverityLevel: 3,
      extra: { session: { model_external_initializers_file_folder_path: dirname(weights.realPath) } },
    });
    return new Judge(classes, session);
  }

  /** Whether the picture `[3, height, width]` in [0, 1] shows these classes before all others. */
  async recognises(picture: FloatImage, wanted: readonly number[]): Promise<boolean> {
    const { logits } = await this.#session.run({ picture: shrink(picture) });
    const values = [...(logits?.data as Float32Array)];
    const strongest = values.map((_, index) => index).sort((a, b) => (values[b] ?? 0) - (values[a] ?? 0));
    return strongest.slice(0, wanted.length).every((index) => wanted.includes(index));
  }

  async close(): Promise<void> {
    await this.#session.release();
  }
}

/** To 128 pixels, each the mean of its area, in [−1, 1]. */
function shrink({ shape, data }: FloatImage): OrtTensor {
  const [, height = 0, width = 0] = shape;
  const factor = width / side;
  if (height !== width || !Number.isInteger(factor)) throw new RangeError(`the judge looks at squares of n·${side} pixels`);
  const shrunk = new Float32Array(3 * side * side);
  data.forEach((value, index) => {
    const [x, row] = [index % width, Math.floor(index / width)];
    const [y, plane] = [row % height, Math.floor(row / height)];
    const at = (plane * side + Math.floor(y / factor)) * side + Math.floor(x / factor);
    shrunk[at] = (shrunk[at] ?? 0) + (2 * value - 1) / factor ** 2;
  });
  return new OrtTensor('float32', shrunk, [1, 3, side, side]);
}

function network(file: SafetensorsFile, classes: number): Uint8Array {
  const w = new ModelWriter('judge');
  w.input('picture', { dtype: 'f32', shape: [1, 3, side, side] });
  w.output('logits', { dtype: 'f32', shape: [1, classes] });
  const weight = (name: string): string => {
    const { shape, offset, sizeBytes } = file.entry(name);
    w.weight({ name, dtype: 'f16', shape, file: basename(file.realPath), offsetBytes: offset, sizeBytes });
    return w.node('Cast', [name], { to: 1 });
  };
  /** A convolution without bias, normalised over the batch it was trained on. */
  const convolve = (x: string, name: string, norm: string, stride: number): string => {
    const [, , kernel = 1] = file.entry(`${name}.weight`).shape;
    const pad = (kernel - 1) / 2;
    const y = w.node('Conv', [x, weight(`${name}.weight`)], {
      kernel_shape: [kernel, kernel],
      strides: [stride, stride],
      pads: [pad, pad, pad, pad],
    });
    const parts = ['weight', 'bias', 'running_mean', 'running_var'].map((part) => weight(`${norm}.${part}`));
    return w.node('BatchNormalization', [y, ...parts], { epsilon: { float: 1e-5 } });
  };
  let x = w.node('Relu', [convolve('picture', 'features.0', 'features.1', 2)]);
  for (let block = 0; block < blocks; block++) {
    const at = `features.${block + 3}`;
    const stride = block === 0 ? 1 : 2;
    const inner = w.node('Relu', [convolve(x, `${at}.body.0`, `${at}.body.1`, stride)]);
    const body = convolve(inner, `${at}.body.3`, `${at}.body.4`, 1);
    x = w.node('Relu', [w.node('Add', [body, convolve(x, `${at}.beside.0`, `${at}.beside.1`, stride)])]);
  }
  const maps = w.node('Conv', [x, weight('head.weight'), weight('head.bias')], { kernel_shape: [1, 1] });
  const places = w.node('Reshape', [maps, w.ints([1, classes, -1])]);
  const softMaximum = w.node('ReduceLogSumExp', [places], { axes: [2], keepdims: 0 });
  w.node('Add', [softMaximum, w.floats([], [logitOffset])], {}, 'logits');
  return w.encode(17, packageVersion);
}
