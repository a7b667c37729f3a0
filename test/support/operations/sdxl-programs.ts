/** Planned programs of the full-size SDXL base, from its configs alone: no weights are needed to know every operation. */
import { planProgram } from '../../../runtime/backends/cuda/plan/planner.js';
import type { Program } from '../../../runtime/backends/cuda/plan/program.js';
import {
  buildClipText,
  buildUnet,
  buildVaeDecoder,
  parseClipTextConfig,
  parseUnetConfig,
  parseVaeConfig,
} from '../../../runtime/models/index.js';
import { decodeMesh, printMesh, shard, type Mesh } from '../../../runtime/parallel/index.js';
import { unetInputRates } from '../../../runtime/pipeline/components.js';
import { architectures, type ArchitectureName } from '../../../bench/models/architectures.js';
import type { HalfType } from './lone-operation.js';

export interface NamedProgram {
  readonly name: string;
  readonly half: HalfType;
  readonly program: Program;
}

/** Pixels from one latent to the next. */
const vaeFactor = 8;

/** What one rank of a mesh runs for an image of `size`² pixels with guidance. */
export function sdxlPrograms(mesh: Mesh, size: number, name: ArchitectureName = 'sdxl-base'): readonly NamedProgram[] {
  const { unet, vae } = architectures[name];
  const [latents, decode] = [size / vaeFactor, decodeMesh(mesh)];
  const vaeConfig = parseVaeConfig(vae, 'vae');
  const where = `${String(size)}², ${printMesh(mesh)}`;
  const symbols = {
    batch: mesh.cfg === 1 ? 2 : 1,
    height: latents / mesh.patch,
    width: latents,
    tokens: architectures[name].textEncoder.max_position_embeddings,
  };
  const denoiser = shard(buildUnet(parseUnetConfig(unet, 'unet')), mesh);
  const decoder = shard(buildVaeDecoder(vaeConfig), decode);
  const decoderSymbols = { batch: 1, height: latents / decode.patch, width: latents };
  return [
    { name: `UNet, ${where}`, half: 'f16', program: planProgram({ graph: denoiser, symbols, inputStages: unetInputRates }) },
    {
      name: `VAE decoder, ${where}`,
      half: vaeConfig.forceUpcast ? 'bf16' : 'f16',
      program: planProgram({ graph: decoder, symbols: decoderSymbols, inputStages: {} }),
    },
  ];
}

/** They run whole on every rank, one prompt at a time. */
export function textPrograms(name: ArchitectureName = 'sdxl-base'): readonly NamedProgram[] {
  const { textEncoder, textEncoder2 } = architectures[name];
  return [textEncoder, textEncoder2].map((config, index) => {
    const graph = buildClipText(parseClipTextConfig(config, 'text_encoder'), 'text_encoder', 'text_model.');
    const program = planProgram({ graph, symbols: { batch: 1 }, inputStages: {} });
    return { name: `text encoder ${String(index + 1)}`, half: 'f16', program };
  });
}
