/** Environment of the ranks' container: the other half of the contract with the runtime, by names only (docs/cli.md). */
import {
  completionIndexLabel,
  metricsPort,
  paths,
  podCount,
  podHost,
  rankCount,
  ranksPerPod,
  rendezvousPort,
  type StoredJob,
} from '../api/index.js';

export type Variable =
  { readonly name: string; readonly value: string } | { readonly name: string; readonly valueFrom: Readonly<Record<string, object>> };

/** Of all containers: where things are kept and how they are told. */
export function commonEnvironment(job: StoredJob): Variable[] {
  const own = (job.spec.pods.env ?? []).map(({ name, value, secret }): Variable =>
    secret === undefined ? { name, value: value ?? '' } : { name, valueFrom: { secretKeyRef: secret } },
  );
  return [
    ...own,
    { name: 'SDXL_CACHE_DIR', value: paths.cache },
    { name: 'SDXL_LOG_FORMAT', value: 'json' },
    // Ranks that were promised a device must not compute on the processor.
    ...(job.spec.accelerator === undefined ? [] : [{ name: 'SDXL_ACCELERATOR', value: 'required' }]),
  ];
}

/** Of who reads from object storage or writes to it, by the names that every client of S3 knows. */
export function storageCredentials(place: { readonly credentialsSecret?: { readonly name: string } } | undefined): Variable[] {
  const secret = place?.credentialsSecret;
  if (secret === undefined) return [];
  const variable = (name: string, optional: boolean): Variable => ({
    name,
    valueFrom: { secretKeyRef: { name: secret.name, key: name, ...(optional ? { optional } : {}) } },
  });
  return [variable('AWS_ACCESS_KEY_ID', false), variable('AWS_SECRET_ACCESS_KEY', false), variable('AWS_SESSION_TOKEN', true)];
}

/** Of the ranks: their place in the gang. The pod's place is its completion index. */
export function gangEnvironment(job: StoredJob, attempt: number): Variable[] {
  return [
    { name: 'NODE_RANK', valueFrom: field(`metadata.labels['${completionIndexLabel}']`) },
    { name: 'LOCAL_WORLD_SIZE', value: String(ranksPerPod(job.spec)) },
    { name: 'WORLD_SIZE', value: String(rankCount(job.spec)) },
    ...meetingPlace(job, attempt),
    { name: 'MASTER_PORT', value: String(rendezvousPort) },
    { name: 'SDXL_JOB_TOKEN_FILE', value: `${paths.job}/token` },
    { name: 'SDXL_METRICS_PORT', value: String(metricsPort) },
    { name: 'SDXL_METRICS_HOST', valueFrom: field('status.podIP') },
  ];
}

/** Ranks of one pod meet on its loopback interface, which nobody else reaches. */
function meetingPlace(job: StoredJob, attempt: number): Variable[] {
  if (podCount(job.spec) === 1) return ['MASTER_ADDR', 'SDXL_LISTEN_ADDR'].map((name) => ({ name, value: '127.0.0.1' }));
  return [
    { name: 'MASTER_ADDR', value: podHost(job, attempt, 0) },
    { name: 'SDXL_LISTEN_ADDR', valueFrom: field('status.podIP') },
    { name: 'SDXL_TLS_DIR', value: paths.job },
  ];
}

function field(fieldPath: string): Readonly<Record<string, object>> {
  return { fieldRef: { fieldPath } };
}
