/**
 * Schema of `metadata` (meta/v1 ObjectMeta), which a CRD leaves to the API server: the rules a user can break on the command
 * line, with the limits of Kubernetes. Fields that only the server writes are let through, so that `kubectl get -o yaml` runs.
 */
import type { StructuralSchema } from './structural-schema.js';

const dnsSubdomain = '^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$';
const qualifiedName = '^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$';

/** Keys of labels and annotations. */
export const metadataKey = new RegExp(qualifiedName, 'u');

export const objectMeta: StructuralSchema = {
  type: 'object',
  description: 'Name, namespace, labels and annotations, as of every Kubernetes object.',
  properties: {
    name: {
      type: 'string',
      minLength: 1,
      maxLength: 253,
      pattern: dnsSubdomain,
      description: 'Name of the job, at most 40 characters: lower-case letters, digits and `-`.',
      example: 'flowers-rabbit',
    },
    generateName: {
      type: 'string',
      minLength: 1,
      maxLength: 253,
      pattern: '^[a-z0-9]([-a-z0-9.]*[-a-z0-9])?$',
      description: 'Prefix of a name the API server makes up when name is left out.',
      example: 'flowers-',
    },
    namespace: {
      type: 'string',
      minLength: 1,
      maxLength: 63,
      pattern: '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$',
      description: 'Namespace of the job in a cluster.',
      example: 'default',
    },
    labels: {
      type: 'object',
      description: 'Labels to select by.',
      additionalProperties: {
        type: 'string',
        maxLength: 63,
        pattern: '^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$',
        example: 'demo',
      },
    },
    annotations: {
      type: 'object',
      description: 'Notes of other programs, 256 KiB in all.',
      additionalProperties: { type: 'string' },
    },
    uid: { type: 'string', description: 'Set by the API server.' },
    resourceVersion: { type: 'string', description: 'Set by the API server.' },
    generation: { type: 'integer', format: 'int64', description: 'Set by the API server.' },
    creationTimestamp: { type: 'string', nullable: true, description: 'Set by the API server.' },
    deletionTimestamp: { type: 'string', nullable: true, description: 'Set by the API server.' },
    deletionGracePeriodSeconds: { type: 'integer', format: 'int64', description: 'Set by the API server.' },
    selfLink: { type: 'string', description: 'Set by old API servers.' },
    ownerReferences: { type: 'array', description: 'Objects this one is deleted with.', items: { type: 'object' } },
    finalizers: { type: 'array', description: 'What must happen before the object is gone.', items: { type: 'string' } },
    managedFields: { type: 'array', description: 'Set by the API server.', items: { type: 'object' } },
  },
};
