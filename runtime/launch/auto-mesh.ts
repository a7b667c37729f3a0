/** Mesh `Auto`: from a job that says how many ranks it has to one that says how they share the work. */
import { imageCount } from '../../crds/image-count.js';
import type { SdxlJobSpec } from '../../crds/index.js';
import { SdxlError } from '../errors/index.js';
import { chooseMesh, fewerRanks, type MeshChoice, type MeshQuestion } from '../parallel/index.js';
import { resolveBackend } from './backend.js';

/** The spec with its degrees; that of an explicit mesh as it is. @throws SdxlError MESH_INVALID */
export function withMesh(spec: SdxlJobSpec): SdxlJobSpec {
  const { parallelism } = spec;
  if (parallelism.mesh !== 'Auto') return spec;
  const { chosen, question, candidates } = explainMesh(spec);
  if (chosen === undefined) throw noMesh(question, candidates);
  return { ...spec, parallelism: { ...parallelism, dataDegree: chosen.data, cfgDegree: chosen.cfg, patchDegree: chosen.patch } };
}

/** The choice for a job's ranks, whether its mesh is chosen or given. */
export function explainMesh(spec: SdxlJobSpec): MeshChoice {
  const { prompts, height, width, guidanceScale, backend, parallelism } = spec;
  const { ranks = parallelism.dataDegree * parallelism.cfgDegree * parallelism.patchDegree, mode } = parallelism;
  return chooseMesh({
    ranks,
    images: imageCount(spec),
    // What divides the heights of all prompts, so that bands suit each.
    height: (prompts ?? []).reduce(
      (common, prompt) => greatestCommonDivisor(common, prompt.height ?? height),
      prompts?.[0]?.height ?? height,
    ),
    width,
    guided: Number(guidanceScale) > 1,
    displaced: mode !== 'Synchronous',
    backend: resolveBackend(backend),
  });
}

function greatestCommonDivisor(a: number, b: number): number {
  return b === 0 ? a : greatestCommonDivisor(b, a % b);
}

function noMesh(question: MeshQuestion, candidates: MeshChoice['candidates']): SdxlError {
  const reasons = candidates.map(({ mesh, why }) => `${String(mesh.data)} x ${String(mesh.cfg)} x ${String(mesh.patch)}: ${why}`);
  const fewer = fewerRanks(question);
  const advice = fewer === undefined ? '' : `; ${String(fewer)} ranks would do`;
  return new SdxlError(
    'MESH_INVALID',
    `no mesh of ${String(question.ranks)} ranks suits the job (data x cfg x patch: ${reasons.join('; ')})${advice}`,
    { fields: { ranks: question.ranks, ...(fewer === undefined ? {} : { fewerRanks: fewer }) } },
  );
}
