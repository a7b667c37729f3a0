/** `sdxl-operator render`: what a job would become, without a cluster. */
import { readFile } from 'node:fs/promises';
import { stringify } from 'yaml';
import { formatJobProblem, validateSdxlJob } from '../crds/index.js';
import { storedJob } from './api/index.js';
import { apiVersionOf } from './kube/index.js';
import { UsageError, type RenderOptions } from './options.js';
import { attemptChildren } from './resources/index.js';

/** Every object of the job's first attempt, as YAML documents. What only a server knows is a placeholder. @throws UsageError */
export async function render({ file, namespace, runtimeImage, acceleratorImage }: RenderOptions): Promise<string> {
  const text = await readFile(file === '-' ? '/dev/stdin' : file, 'utf8').catch((cause: unknown) => {
    throw new UsageError(`-f ${file}: the file can't be read: ${cause instanceof Error ? cause.message : String(cause)}`);
  });
  const validation = validateSdxlJob(text);
  if (!validation.ok) throw new UsageError(`${file}: ${validation.errors.map(formatJobProblem).join('\n  ')}`);
  const { metadata, spec, status } = validation.job;
  const name = metadata.name ?? `${metadata.generateName ?? ''}xxxxx`;
  const named = { ...metadata, name, namespace: metadata.namespace ?? namespace ?? 'default', uid: '00000000-0000-0000-0000-000000000000' };
  const job = storedJob({ metadata: named, spec, status } as { readonly metadata: object });
  const children = attemptChildren(
    job,
    1,
    {
      runtimeImage,
      acceleratorImage,
      tokenKey: Buffer.from('rendered without the key of a cluster'),
    },
    new Date(),
  );
  return children
    .map(({ resource, object }) =>
      stringify({ apiVersion: apiVersionOf(resource), kind: resource.kind, ...object }, { aliasDuplicateObjects: false }),
    )
    .join('---\n');
}
