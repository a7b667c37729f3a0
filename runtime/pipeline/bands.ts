/** Whole images and the bands ranks hold: slicing what goes into a sharded graph, joining what it gathered. */
import { placeInMesh, type Mesh } from '../parallel/index.js';
import { float32, type Tensor } from '../tensor/index.js';

/**
 * The inputs a sharded graph takes in place of the whole `value` `[b, c, H, W]`: this rank's rows as `name`, the rows next to
 * them as `<name>.halo` (zeros beyond the image) and, for graphs that must zero those again, `edge_mask`. Without patches, the
 * value itself.
 */
export function bandInputs(name: string, value: Tensor<'f32'>, mesh: Mesh, rank: number): Record<string, Tensor> {
  if (mesh.patch === 1) return { [name]: value };
  const { patchIndex } = placeInMesh(mesh, rank);
  const height = value.shape[2] ?? 0;
  const rows = height / mesh.patch;
  const first = patchIndex * rows;
  return {
    [name]: pickRows(value, range(first, rows)),
    [`${name}.halo`]: pickRows(value, [first - 1, first + rows]),
    edge_mask: float32([1, 1, 2, 1], Float32Array.of(patchIndex === 0 ? 0 : 1, patchIndex === mesh.patch - 1 ? 0 : 1)),
  };
}

/**
 * Joins the gathered output `[world, b, c, rows, w]` of every rank to `[cfg·b, c, patch·rows, w]`, branch by branch. Without
 * other ranks the output is whole already.
 */
export function joinBands(gathered: Tensor<'f32'>, mesh: Mesh): Tensor<'f32'> {
  if (mesh.cfg * mesh.patch === 1) return gathered;
  const [, batch = 1, channels = 1, rows = 1, width = 1] = gathered.shape;
  const joined = float32([mesh.cfg * batch, channels, mesh.patch * rows, width]);
  const band = rows * width;
  const planes = batch * channels;
  for (let branch = 0; branch < mesh.cfg; branch++) {
    for (let patch = 0; patch < mesh.patch; patch++) {
      for (let plane = 0; plane < planes; plane++) {
        const source = ((branch * mesh.patch + patch) * planes + plane) * band;
        joined.data.set(gathered.data.subarray(source, source + band), ((branch * planes + plane) * mesh.patch + patch) * band);
      }
    }
  }
  return joined;
}

/** An output that the graph declares as f32. */
export function floatOutput(outputs: Readonly<Record<string, Tensor>>, name: string): Tensor<'f32'> {
  const value = outputs[name];
  if (!(value?.data instanceof Float32Array)) throw new Error(`no f32 output ${name}`);
  return float32(value.shape, value.data);
}

/** The given rows of every plane, in order; zeros for rows outside. */
function pickRows(value: Tensor<'f32'>, rows: readonly number[]): Tensor<'f32'> {
  const [batch = 1, channels = 1, height = 1, width = 1] = value.shape;
  const picked = float32([batch, channels, rows.length, width]);
  for (let plane = 0; plane < batch * channels; plane++) {
    rows.forEach((row, index) => {
      if (row < 0 || row >= height) return;
      const source = (plane * height + row) * width;
      picked.data.set(value.data.subarray(source, source + width), (plane * rows.length + index) * width);
    });
  }
  return picked;
}

function range(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}
