/**
 * The mesh: how a gang's ranks share one image. `cfg` ranks rows split classifier-free guidance (unconditional, conditional), and
 * each of them is split into `patch` ranks that hold equal bands of rows (Li et al. 2024, DistriFusion, section 4). A job of many images
 * may have several such meshes, replicas, that make different images and exchange nothing while they do.
 */
import { SdxlError } from '../errors/index.js';

export interface Mesh {
  /** 1, or 2 to give each guidance branch its own ranks. */
  readonly cfg: number;
  /** Bands of rows. */
  readonly patch: number;
}

/** The mesh of a whole gang: `data` replicas of the mesh of one image. */
export interface JobMesh extends Mesh {
  /** Images that are made at once. */
  readonly data: number;
}

/** A rank's replica. Ranks are numbered replica by replica, so that those of one image are neighbours and share machines. */
export interface Replica {
  readonly index: number;
  /** The replica's ranks, as numbered in the gang. The first leads: it takes images from rank 0 and writes them. */
  readonly members: readonly number[];
  /** This rank among them: its place in the mesh of its image. */
  readonly rank: number;
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

/** Ranks that make one image. */
export function worldSize(mesh: Mesh): number {
  return mesh.cfg * mesh.patch;
}

/** Ranks of the whole gang. */
export function gangSize(mesh: JobMesh): number {
  return mesh.data * worldSize(mesh);
}

/** The replica of a rank of the gang. */
export function placeInGang(mesh: JobMesh, rank: number): Replica {
  const size = worldSize(mesh);
  const index = Math.floor(rank / size);
  return { index, members: Array.from({ length: size }, (_, member) => index * size + member), rank: rank % size };
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

/** `cfg=2,patch=4`, and before it `data=2,` where there are replicas. */
export function printMesh({ data = 1, cfg, patch }: Mesh & Partial<JobMesh>): string {
  return `${data === 1 ? '' : `data=${String(data)},`}cfg=${String(cfg)},patch=${String(patch)}`;
}

/**
 * Pixels must divide into latents, and rows of pixels into bands: of several of one branch, with latent rows that are multiples of
 * `latentUnit` (what the UNet's downsampling needs); of two branches, into one to decode for each. Throws SIZE_INVALID naming the nearest valid sizes.
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
  check('width', width, vaeFactor, 'for this model');
  if (mesh.patch > 1) check('height', height, latentUnit * vaeFactor * mesh.patch, `for ${String(mesh.patch)} patch ranks`);
  else check('height', height, vaeFactor * mesh.cfg, mesh.cfg === 1 ? 'for this model' : `for ${String(mesh.cfg)} ranks that decode it`);
}
