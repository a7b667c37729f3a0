/** The pods of a gang: all alike, told apart by their completion index. They satisfy Pod Security "restricted". */
import {
  attemptLabels,
  attemptName,
  buildContainer,
  fetchContainer,
  metricsPort,
  paths,
  podCount,
  rankContainer,
  ranksPerPod,
  type StoredJob,
} from '../api/index.js';
import { commonEnvironment, gangEnvironment, storageCredentials, type Variable } from './environment.js';
import { fetchedModelPath } from './runtime-job.js';
import type { Settings } from './settings.js';
import { volumesOf, type Mount } from './volumes.js';

const jobFile = `${paths.job}/job.yaml`;
/** Above the runtime's own grace period of 10 s, and time to say why it ended. */
const gracePeriodSeconds = 30;

export function podTemplate(job: StoredJob, attempt: number, settings: Settings): object {
  const { pods, scheduling, accelerator, output } = job.spec;
  const { volumes, mounts } = volumesOf(job, attempt);
  const name = attemptName(job, attempt);
  const container = (part: { readonly name: string; readonly args: readonly string[]; readonly env: readonly Variable[] }): object => ({
    ...part,
    image: pods.image ?? (accelerator === undefined ? settings.runtimeImage : settings.acceleratorImage),
    imagePullPolicy: pods.imagePullPolicy,
    resources: resourcesOf(job),
    volumeMounts: mounts,
    securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
  });
  const common = commonEnvironment(job);
  const fetching = fetchContainers(job, mounts, settings);
  const building = container({ name: buildContainer, args: ['build', '-f', jobFile], env: common });
  const ranks = {
    ...container({
      name: rankContainer,
      args: ['run', '-f', jobFile],
      env: [...common, ...storageCredentials(output.s3), ...gangEnvironment(job, attempt)],
    }),
    ports: [{ name: 'metrics', containerPort: metricsPort, protocol: 'TCP' }],
    readinessProbe: { httpGet: { path: '/healthz', port: 'metrics' }, periodSeconds: 2, timeoutSeconds: 2, failureThreshold: 3 },
  };
  return {
    metadata: {
      labels: { ...pods.labels, ...attemptLabels(job, attempt), ...podGroupLabels(job, name) },
      ...annotationsOf(job, name),
    },
    spec: {
      restartPolicy: 'Never',
      subdomain: name,
      terminationGracePeriodSeconds: gracePeriodSeconds,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      securityContext: {
        runAsNonRoot: true,
        ...(pods.runAsUser === undefined ? {} : { runAsUser: pods.runAsUser }),
        fsGroup: pods.fsGroup,
        // A large claim's files need not be walked at each start.
        fsGroupChangePolicy: 'OnRootMismatch',
        seccompProfile: { type: 'RuntimeDefault' },
      },
      ...given({
        serviceAccountName: pods.serviceAccountName,
        runtimeClassName: pods.runtimeClassName,
        nodeSelector: pods.nodeSelector,
        tolerations: pods.tolerations,
        imagePullSecrets: pods.imagePullSecrets?.map((secret) => ({ name: secret })),
        priorityClassName: scheduling?.priorityClassName,
        schedulerName: scheduling?.schedulerName ?? (scheduling?.gang === 'Volcano' ? 'volcano' : undefined),
        affinity: affinityOf(job, attempt),
        resourceClaims:
          accelerator?.resourceClaimTemplateName === undefined
            ? undefined
            : [{ name: 'accelerator', resourceClaimTemplateName: accelerator.resourceClaimTemplateName }],
      }),
      initContainers: [...fetching, building],
      containers: [ranks],
      volumes,
    },
  };
}

/** None where the model lies in a volume or in the image. */
function fetchContainers(job: StoredJob, mounts: readonly Mount[], settings: Settings): readonly object[] {
  const { model, pods, accelerator } = job.spec;
  const source = fetchSource(model);
  const output = fetchedModelPath(model);
  if (source === undefined || output === undefined) return [];
  return [
    {
      name: fetchContainer,
      image: pods.image ?? (accelerator === undefined ? settings.runtimeImage : settings.acceleratorImage),
      imagePullPolicy: pods.imagePullPolicy,
      args: ['fetch', ...source.args, '--output', output],
      env: [...commonEnvironment(job), ...source.env],
      // It needs no device, but a quota may want limits of every container.
      ...given({ resources: pods.resources }),
      volumeMounts: mounts.filter(({ name }) => name === 'cache' || name === 'temporary'),
      securityContext: { allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: { drop: ['ALL'] } },
    },
  ];
}

function fetchSource({
  huggingFace,
  s3,
}: StoredJob['spec']['model']): { readonly args: readonly string[]; readonly env: readonly Variable[] } | undefined {
  if (huggingFace !== undefined) {
    const { repo, revision, endpoint, tokenSecret } = huggingFace;
    return {
      args: ['--repo', repo, '--revision', revision, '--endpoint', endpoint],
      env: tokenSecret === undefined ? [] : [{ name: 'HF_TOKEN', valueFrom: { secretKeyRef: tokenSecret } }],
    };
  }
  if (s3 === undefined) return undefined;
  const option = (name: string, value: string | undefined): readonly string[] => (value === undefined ? [] : [name, value]);
  const args = ['--s3', `s3://${s3.bucket}/${s3.prefix}`, ...option('--endpoint', s3.endpoint), ...option('--region', s3.region)];
  return { args, env: storageCredentials(s3) };
}

function resourcesOf({ spec }: StoredJob): object {
  const { pods, accelerator, network } = spec;
  const devices: Record<string, string> = {};
  if (accelerator?.resourceName !== undefined) devices[accelerator.resourceName] = String(ranksPerPod(spec));
  if (network !== undefined) devices[network.resourceName] = String(network.count);
  const limits = { ...pods.resources?.limits, ...devices };
  const requests = { ...pods.resources?.requests, ...devices };
  return given({
    limits: Object.keys(limits).length === 0 ? undefined : limits,
    requests: Object.keys(requests).length === 0 ? undefined : requests,
    claims: accelerator?.resourceClaimTemplateName === undefined ? undefined : [{ name: 'accelerator' }],
  });
}

function affinityOf(job: StoredJob, attempt: number): object | undefined {
  const topology = job.spec.scheduling?.topology;
  if (topology === undefined || podCount(job.spec) === 1) return undefined;
  const term = { labelSelector: { matchLabels: attemptLabels(job, attempt) }, topologyKey: topology.key };
  return {
    podAffinity:
      topology.policy === 'Required'
        ? { requiredDuringSchedulingIgnoredDuringExecution: [term] }
        : { preferredDuringSchedulingIgnoredDuringExecution: [{ weight: 100, podAffinityTerm: term }] },
  };
}

function podGroupLabels({ spec }: StoredJob, name: string): Record<string, string> {
  return spec.scheduling?.gang === 'Coscheduling' ? { 'scheduling.x-k8s.io/pod-group': name } : {};
}

function annotationsOf({ spec }: StoredJob, name: string): { readonly annotations?: Readonly<Record<string, string>> } {
  const group: Record<string, string> = spec.scheduling?.gang === 'Volcano' ? { 'scheduling.k8s.io/group-name': name } : {};
  const annotations = { ...spec.pods.annotations, ...group };
  return Object.keys(annotations).length === 0 ? {} : { annotations };
}

/** Without the fields that are undefined. */
function given(fields: Readonly<Record<string, unknown>>): object {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
