/** Everything one attempt consists of, the Job last: once it is there, all that its pods need is there. */
import { identityFiles } from '../../certificates/contract.js';
import { attemptLabels, childLabels, metricsPort, outputClaimName, podCount, type StoredJob } from '../api/index.js';
import { resources } from '../kube/index.js';
import { attemptMetadata, ownerOf, type Child } from './child.js';
import { podTemplate } from './pod-template.js';
import { runtimeJob } from './runtime-job.js';
import { rankIdentity, rankToken, type Settings } from './settings.js';

/** @param now decides how long certificates are valid, and nothing else */
export function attemptChildren(job: StoredJob, attempt: number, settings: Settings, now: Date): Child[] {
  const gang = job.spec.scheduling?.gang;
  return [
    ...(job.spec.output.claim === undefined && job.spec.output.s3 === undefined ? [outputClaim(job)] : []),
    configMap(job, attempt),
    secret(job, attempt, settings, now),
    service(job, attempt),
    networkPolicy(job, attempt),
    ...(gang === 'Coscheduling' || gang === 'Volcano' ? [podGroup(job, attempt, gang)] : []),
    indexedJob(job, attempt, settings),
  ];
}

function outputClaim(job: StoredJob): Child {
  const { size = '1Gi', storageClassName } = job.spec.output;
  return {
    resource: resources.claim,
    object: {
      metadata: {
        name: outputClaimName(job),
        namespace: job.metadata.namespace,
        labels: childLabels(job),
        ownerReferences: [ownerOf(job)],
      },
      spec: {
        // Pods on several nodes mount it together: the first rank of each replica writes.
        accessModes: [podCount(job.spec) === 1 ? 'ReadWriteOnce' : 'ReadWriteMany'],
        resources: { requests: { storage: size } },
        ...(storageClassName === undefined ? {} : { storageClassName }),
      },
    },
  };
}

function configMap(job: StoredJob, attempt: number): Child {
  const content = `${JSON.stringify(runtimeJob(job), undefined, 2)}\n`;
  return {
    resource: resources.configMap,
    object: { metadata: attemptMetadata(job, attempt), data: { 'job.yaml': content } },
  };
}

/** What makes a rank a member; between pods also what keeps others from reading along. */
function secret(job: StoredJob, attempt: number, { tokenKey }: Settings, now: Date): Child {
  const content: Record<string, string> = { token: rankToken(tokenKey, job.metadata.uid, attempt) };
  if (podCount(job.spec) > 1) {
    const identity = rankIdentity(tokenKey, job, attempt, now);
    for (const part of ['ca', 'certificate', 'key'] as const) content[identityFiles[part]] = identity[part];
  }
  return {
    resource: resources.secret,
    object: {
      metadata: attemptMetadata(job, attempt),
      type: 'Opaque',
      data: Object.fromEntries(Object.entries(content).map(([file, text]) => [file, Buffer.from(text).toString('base64')])),
    },
  };
}

/** Host names for the pods, from before they are ready: ranks meet while they start. */
function service(job: StoredJob, attempt: number): Child {
  return {
    resource: resources.service,
    object: {
      metadata: attemptMetadata(job, attempt),
      spec: { clusterIP: 'None', publishNotReadyAddresses: true, selector: attemptLabels(job, attempt) },
    },
  };
}

function networkPolicy(job: StoredJob, attempt: number): Child {
  const gang = { matchLabels: attemptLabels(job, attempt) };
  return {
    resource: resources.networkPolicy,
    object: {
      metadata: attemptMetadata(job, attempt),
      spec: {
        podSelector: gang,
        policyTypes: ['Ingress'],
        ingress: [{ from: [{ podSelector: gang }] }, { ports: [{ port: metricsPort, protocol: 'TCP' }] }],
      },
    },
  };
}

function podGroup(job: StoredJob, attempt: number, gang: 'Coscheduling' | 'Volcano'): Child {
  return {
    resource: gang === 'Volcano' ? resources.volcanoPodGroup : resources.podGroup,
    object: { metadata: attemptMetadata(job, attempt), spec: { minMember: podCount(job.spec) } },
  };
}

function indexedJob(job: StoredJob, attempt: number, settings: Settings): Child {
  const pods = podCount(job.spec);
  const queue = job.spec.scheduling?.queueName;
  const metadata = attemptMetadata(job, attempt);
  return {
    resource: resources.job,
    object: {
      metadata: queue === undefined ? metadata : { ...metadata, labels: { ...metadata.labels, 'kueue.x-k8s.io/queue-name': queue } },
      spec: {
        completionMode: 'Indexed',
        completions: pods,
        parallelism: pods,
        backoffLimit: 0,
        // A pod replaced alone would wait for peers that wait for it.
        podReplacementPolicy: 'Failed',
        podFailurePolicy: {
          rules: [
            { action: 'FailJob', onExitCodes: { operator: 'NotIn', values: [0] } },
            { action: 'FailJob', onPodConditions: [{ type: 'DisruptionTarget', status: 'True' }] },
          ],
        },
        // Kueue alone says when a queued Job starts.
        ...(queue === undefined ? {} : { suspend: true }),
        template: podTemplate(job, attempt, settings),
      },
    },
  };
}
