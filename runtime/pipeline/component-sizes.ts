/** The sizes at which each component of a model runs for one image on a mesh, as values of its graph's symbols. */
import type { SymbolValues } from '../graph/index.js';
import type { Mesh } from '../parallel/index.js';
import type { Model } from './model.js';

export type ComponentName = 'textEncoder' | 'textEncoder2' | 'unet' | 'vaeDecoder';

export interface ImageSize {
  /** Pixels. */
  readonly height: number;
  readonly width: number;
  /** Whether guidance doubles the batch of a rank that runs both branches. */
  readonly guided: boolean;
  /** Tokens of the UNet's context. Undefined: as many as the text encoders have positions. */
  readonly tokens?: number;
}

export function componentSizes(model: Model, mesh: Mesh, size: ImageSize): Readonly<Record<ComponentName, SymbolValues>> {
  const factor = model.vaeScaleFactor;
  const [rows, columns] = [size.height / factor, size.width / factor];
  return {
    textEncoder: { batch: 1 },
    textEncoder2: { batch: 1 },
    unet: {
      batch: size.guided && mesh.cfg === 1 ? 2 : 1,
      height: rows / mesh.patch,
      width: columns,
      tokens: size.tokens ?? model.parts.textEncoder.config.maxPositions,
    },
    vaeDecoder: { batch: 1, height: rows / (mesh.patch * mesh.cfg), width: columns },
  };
}
