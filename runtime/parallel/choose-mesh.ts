/**
 * Which mesh a job of so many ranks should have: every way to split them into replicas, guidance branches and bands of rows, and an estimate
 * of the time each takes for the whole job. Depends on the job and the backend's kind only, so that every machine chooses alike, an attempt
 * that resumes too. The figures behind the estimates are measured ones: docs/performance.md, "Choosing a mesh".
 */
import type { JobMesh } from './mesh.js';

export interface MeshQuestion {
  readonly ranks: number;
  readonly images: number;
  /** Pixels. */
  readonly height: number;
  readonly width: number;
  /** Whether guidance makes two branches. */
  readonly guided: boolean;
  /** Whether patches are to be displaced, which needs more than one band. */
  readonly displaced: boolean;
  readonly backend: 'Onnx' | 'Cuda';
}

export interface MeshCandidate {
  readonly mesh: JobMesh;
  /** Undefined: the job cannot have, or should not have, this mesh. */
  readonly estimate: MeshEstimate | undefined;
  /** Why it was chosen, or why not. */
  readonly why: string;
}

export interface MeshEstimate {
  /** Time of an image as a share of what one rank alone takes. */
  readonly image: number;
  /** Images that a replica makes one after the other, at most. */
  readonly rounds: number;
  /** Time of the job: `rounds` · `image`. */
  readonly job: number;
}

export interface MeshChoice {
  readonly question: MeshQuestion;
  /** Undefined: no mesh of so many ranks will do. */
  readonly chosen: JobMesh | undefined;
  /** From the least time to the most, then those that will not do. */
  readonly candidates: readonly MeshCandidate[];
}

interface Possible {
  readonly mesh: JobMesh;
  readonly estimate: MeshEstimate;
}

/** Rows of pixels that a latent row stands for, and one of the UNet's deepest level. */
const latentRowPixels = 8;
const deepestRowPixels = 32;
/** Each band takes a row from either neighbour: with fewer of its own it would receive more than it computes. */
const leastDeepestRows = 2;

export function chooseMesh(question: MeshQuestion): MeshChoice {
  const judged = meshesOf(question.ranks).map((mesh) => ({ mesh, refusal: refusalOf(mesh, question) }));
  const possible = judged
    .filter(({ refusal }) => refusal === undefined)
    .map(({ mesh }) => ({ mesh, estimate: estimateOf(mesh, question) }))
    .sort(compare);
  const [best] = possible;
  const candidates = possible.map(({ mesh, estimate }, index): MeshCandidate => {
    const why =
      index === 0 ? 'chosen: the least time for the job' : `${(estimate.job / (best?.estimate.job ?? 1)).toFixed(2)} times as long`;
    return { mesh, estimate, why };
  });
  const refused = judged.flatMap(({ mesh, refusal }) => (refusal === undefined ? [] : [{ mesh, estimate: undefined, why: refusal }]));
  return { question, chosen: best?.mesh, candidates: [...candidates, ...refused] };
}

/** The largest number of ranks below that of the question for which there is a mesh; undefined: there is none. */
export function fewerRanks(question: MeshQuestion): number | undefined {
  const fewer = Array.from({ length: question.ranks - 1 }, (_, index) => question.ranks - 1 - index);
  return fewer.find((ranks) => meshesOf(ranks).some((mesh) => refusalOf(mesh, { ...question, ranks }) === undefined));
}

/** Of two that take equally long, the one with more replicas, which exchange nothing; then the one with fewer bands, which do in every layer. */
function compare(a: Possible, b: Possible): number {
  const later = Math.round((a.estimate.job - b.estimate.job) * 1e9);
  return later || b.mesh.data - a.mesh.data || a.mesh.patch - b.mesh.patch;
}

/** All products data × cfg × patch of so many ranks, the most replicas first. */
function meshesOf(ranks: number): JobMesh[] {
  const divisors = Array.from({ length: ranks }, (_, index) => ranks - index).filter((divisor) => ranks % divisor === 0);
  return divisors.flatMap((data) =>
    [1, 2].flatMap((cfg) => ((ranks / data) % cfg === 0 ? [{ data, cfg, patch: ranks / data / cfg }] : [])),
  );
}

function refusalOf({ data, cfg, patch }: JobMesh, { images, height, guided, displaced }: MeshQuestion): string | undefined {
  if (cfg === 2 && !guided) return 'without guidance there is one branch';
  if (data > images) return `${plural(images, 'image')} for ${String(data)} replicas`;
  if (displaced && patch === 1) return 'displaced patches need more than one band';
  if (patch === 1) {
    const unit = latentRowPixels * cfg;
    return height % unit === 0
      ? undefined
      : `height ${String(height)} is no multiple of ${String(unit)}, to be decoded by ${String(cfg)} ranks`;
  }
  const rows = height / (deepestRowPixels * patch);
  if (!Number.isInteger(rows)) return `height ${String(height)} is no multiple of ${String(deepestRowPixels)} x ${String(patch)} bands`;
  if (rows < leastDeepestRows)
    return `${plural(rows, 'row')} of the deepest level in a band, at least ${String(leastDeepestRows)} are worth its halo`;
  return undefined;
}

function estimateOf(mesh: JobMesh, question: MeshQuestion): MeshEstimate {
  const { images, guided, backend } = question;
  const megapixels = (question.height * question.width) / 2 ** 20;
  const branches = guided ? 2 : 1;
  const seconds = stepCosts[backend];
  const image = seconds(branches / mesh.cfg, megapixels, mesh.patch) / seconds(branches, megapixels, 1);
  const rounds = Math.ceil(images / mesh.data);
  return { image, rounds, job: rounds * image };
}

/**
 * What a step takes, for so many branches on a rank, pixels in units of 1024², and bands of rows. Only ratios count.
 *
 * Cuda, in ms on H100s: a part that does not shrink with the work, one that grows with the pixels, self-attention, which grows with their
 * square, and the exchanges of synchronous patches. Solved from four measurements: one rank 29.1 at 1024² and 152 at 2048²; two branches on
 * two ranks 17.1; two bands 21.4. More than two bands were not measured; the exchanges are taken to cost the same.
 *
 * Onnx: work on processors, all of it proportional, since ranks share them. Two bands on two cores took 1.17 times half the time of one rank
 * on one core: halos, copies at segments' borders and exchanges.
 */
const stepCosts: Readonly<Record<MeshQuestion['backend'], (branches: number, megapixels: number, bands: number) => number>> = {
  Cuda: (branches, megapixels, bands) => 5.1 + (branches * (9.88 * megapixels + 2.12 * megapixels ** 2)) / bands + (bands === 1 ? 0 : 4.3),
  Onnx: (branches, megapixels, bands) => ((branches * megapixels) / bands) * (bands === 1 ? 1 : 1.17),
};

function plural(count: number, noun: string): string {
  return `${String(count)} ${noun}${count === 1 ? '' : 's'}`;
}
