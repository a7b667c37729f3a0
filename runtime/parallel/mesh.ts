/**
 * The mesh: how a gang's ranks share one image. `cfg` ranks rows split classifier-free guidance (unconditional, conditional), and
 * each of them is split into `patch` ranks that hold equal bands of rows (Li et al. 2024, DistriFusion, section 4).
 */
import { SdxlError } from '../errors/index.js';

export interface Mesh {
  /** 1, or 2 to give each guidance branch its own ranks. */
  readonly cfg: number;
  /** Bands of rows. */
  readonly patch: number;
}

/** A rank's place. Ranks are numbered branch by branch: rank = cfgIndex · patch + patchIndex. */
export interface MeshPlace {
  readonly mesh: Mesh;
  readonly rank: number;
  /** 0: unconditional (or both, when cfg is 1); 1: conditional. */
  readonly cfgIndex: number;
  /** Band of rows, from the top. */
  readonly patchIndex: number;
  /** Ranks of the same branch, in order of their bands. */
  readonly patchGroup: readonly number[];
}

export function worldSize(mesh: Mesh): number {
  return mesh.cfg * mesh.patch;
}

export function placeInMesh(mesh: Mesh, rank: number): MeshPlace {
  const cfgIndex = Math.floor(rank / mesh.patch);
  return {
    mesh,
    rank,
    cfgIndex,
    patchIndex: rank % mesh.patch,
    patchGroup: Array.from({ length: mesh.patch }, (_, index) => cfgIndex * mesh.patch + index),
  };
}

/** The mesh over which an image is decoded: there is no guidance, so every rank takes a band. */
export function decodeMesh(mesh: Mesh): Mesh {
  return { cfg: 1, patch: worldSize(mesh) };
}

export function printMesh(mesh: Mesh): string {
  return `cfg=${String(mesh.cfg)},patch=${String(mesh.patch)}`;
}

/**
 * Rows of pixels must divide into bands whose latent rows are multiples of `latentUnit` (what the UNet's downsampling needs);
 * throws SIZE_INVALID naming the nearest valid sizes.
 */
export function checkSize(height: number, width: number, mesh: Mesh, latentUnit: number, vaeFactor: number): void {
  const check = (name: string, size: number, multiple: number, why: string): void => {
    if (size > 0 && size % multiple === 0) return;
    const below = Math.floor(size / multiple) * multiple;
    const nearest = (below > 0 ? [below, below + multiple] : [multiple]).join(' or ');
    throw new SdxlError('SIZE_INVALID', `${name} is ${String(size)}, must be a multiple of ${String(multiple)} ${why}: use ${nearest}`, {
      fields: { field: name, value: size, multiple },
    });
  };
  const unit = latentUnit * vaeFactor;
  check('width', width, unit, 'for this model');
  check('height', height, unit * mesh.patch, mesh.patch === 1 ? 'for this model' : `for ${String(mesh.patch)} patch ranks`);
}
