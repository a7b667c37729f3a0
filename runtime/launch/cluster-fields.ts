/**
 * Fields of a job that only a cluster can honour. The command line refuses them by name: what is accepted is done. The operator leaves them out
 * of the job it hands to the ranks, whose model and output are paths by then.
 */
import { apiVersion, kind, validateSdxlJob, type SdxlJob, type SdxlJobSpec } from '../../crds/index.js';
import { SdxlError } from '../errors/index.js';
import { withMesh } from './auto-mesh.js';

/** What one machine can do by itself: the model has a path. */
export type LocalSpec = SdxlJobSpec & { readonly model: SdxlJobSpec['model'] & { readonly path: string } };
export type LocalJob = SdxlJob & { readonly spec: LocalSpec };

const sources = ['model.claim', 'model.image', 'model.huggingFace', 'model.s3'];
const placements = [
  'output.claim',
  'output.size',
  'output.storageClassName',
  'output.s3.credentialsSecret',
  'parallelism.ranksPerPod',
  'suspend',
  'ttlSecondsAfterFinished',
  'activeDeadlineSeconds',
  'failurePolicy',
  'cleanPodPolicy',
  'managedBy',
  'cache',
  'accelerator',
  'network',
  'scheduling',
  'pods',
];

/**
 * The job, with a path as its model and degrees as its mesh. With `placed`, fields that place a job in a cluster are let through unused, because the caller
 * said so. @throws SdxlError JOB_INVALID naming every field that can't be honoured here, MESH_INVALID where no mesh has that many ranks
 */
export function localJob(job: SdxlJob, { placed = false }: { readonly placed?: boolean } = {}): LocalJob {
  const { spec } = job;
  const given = (field: string): boolean => JSON.stringify(at(spec, field)) !== JSON.stringify(at(defaults(), field));
  const source = sources.find(given);
  const { path } = spec.model;
  if (path === undefined) {
    throw invalid(
      [`spec.${source ?? 'model'}`],
      'on the command line a model is a directory: fetch the model and give its directory as spec.model.path',
    );
  }
  const fields = placed ? [] : placements.filter(given).map((field) => `spec.${field}`);
  if (fields.length > 0) {
    throw invalid(
      fields,
      'only a cluster can honour this: apply the job to one, remove the fields, or run all of its ranks here with --local',
    );
  }
  return { ...job, spec: { ...withMesh(spec), model: { ...spec.model, path } } };
}

function invalid(fields: readonly string[], advice: string): SdxlError {
  return new SdxlError('JOB_INVALID', `${fields.join(', ')}: ${advice}`, { fields: { fields } });
}

/** The spec of a job that says nothing. */
function defaults(): SdxlJobSpec {
  const validation = validateSdxlJob({ apiVersion, kind, metadata: { name: 'defaults' }, spec: { model: { path: '-' }, prompt: '-' } });
  if (!validation.ok) throw new Error('the smallest job is not valid');
  return validation.job.spec;
}

function at(spec: SdxlJobSpec, field: string): unknown {
  return field
    .split('.')
    .reduce<unknown>((value, key) => (typeof value === 'object' && value !== null ? Reflect.get(value, key) : undefined), spec);
}
