/** `sdxl inspect --mesh`: what mesh `Auto` chooses for a job, among which, and why. */
import type { SdxlJobSpec } from '../../crds/index.js';
import { explainMesh } from '../launch/index.js';
import { packageVersion } from '../package-root.js';
import { worldSize, type JobMesh, type MeshCandidate } from '../parallel/index.js';
import { table } from './table.js';

export function printMeshChoice(spec: SdxlJobSpec): string {
  const { question, candidates, chosen } = explainMesh(spec);
  const { ranks, images, width, height, guided, backend } = question;
  const job = [
    plural(ranks, 'rank'),
    `${plural(images, 'image')} of ${String(width)}x${String(height)}`,
    guided ? 'guidance' : 'no guidance',
    `backend ${backend}`,
    ...(question.displaced ? [`mode ${spec.parallelism.mode}`] : []),
  ];
  return [
    `${job.join(', ')}:`,
    '',
    table(['mesh', 'at once', 'ranks an image', 'image', 'rounds', 'job', 'why'], candidates.map(row)),
    '',
    'image: time of an image as a share of what one rank takes for it. rounds: images a replica makes in turn. job: rounds x image.',
    'Estimates, from steps measured elsewhere (docs/performance.md); `sdxl bench` measures this machine.',
    chosen === undefined ? 'No mesh of so many ranks suits this job.' : `Chosen: ${degrees(chosen)}`,
    ...(spec.parallelism.mesh === 'Auto'
      ? []
      : [`The job says itself: ${degrees(ownMesh(spec))}; with mesh: Auto and ranks: ${String(ranks)} it would be the above.`]),
    '',
  ].join('\n');
}

export function meshChoiceAsJson(spec: SdxlJobSpec): string {
  const { question, candidates, chosen } = explainMesh(spec);
  return `${JSON.stringify({ version: packageVersion, ...question, chosen: chosen ?? null, candidates }, null, 2)}\n`;
}

function row({ mesh, estimate, why }: MeshCandidate): string[] {
  const figures = estimate === undefined ? ['', '', ''] : [estimate.image.toFixed(2), String(estimate.rounds), estimate.job.toFixed(2)];
  const named = `data ${String(mesh.data)} x cfg ${String(mesh.cfg)} x patch ${String(mesh.patch)}`;
  return [named, String(mesh.data), String(worldSize(mesh)), ...figures, why];
}

/** As a job writes it. */
function degrees({ data, cfg, patch }: JobMesh): string {
  return `dataDegree: ${String(data)}, cfgDegree: ${String(cfg)}, patchDegree: ${String(patch)}`;
}

function ownMesh({ parallelism }: SdxlJobSpec): JobMesh {
  return { data: parallelism.dataDegree, cfg: parallelism.cfgDegree, patch: parallelism.patchDegree };
}

function plural(count: number, noun: string): string {
  return `${String(count)} ${noun}${count === 1 ? '' : 's'}`;
}
