/** The images of this project on the nodes of a test's cluster, and volumes for what its jobs make. */
import { chmod, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CoreV1Api } from '@kubernetes/client-node';
import { packageFile } from '../../runtime/package-root.js';
import type { Cluster, Image } from './cluster/index.js';

/** As the Containerfiles make them: entry point, working directory, user. */
export const sdxlImages: Readonly<Record<string, Image>> = {
  'ghcr.io/sdxl-operator/operator': program('dist/operator/main.js'),
  'ghcr.io/sdxl-operator/runtime-cpu': program('dist/runtime/cli/main.js'),
};

/** In the stead of the runtime where only the operator is of interest. */
export const standInRanks = program('dist/test/support/stand-in-ranks.js');

function program(file: string): Image {
  return { entrypoint: [process.execPath, packageFile(file)], workingDir: packageFile('.'), user: 10_001 };
}

/** A volume for a claim that is there or will be, in the stead of a storage class; the folder of this machine that it is. */
export async function offerVolume(cluster: Cluster, namespace: string, claim: string): Promise<string> {
  const path = join(cluster.directory, 'volumes', namespace, claim);
  await mkdir(path, { recursive: true });
  // The ranks' user is not this machine's.
  await chmod(path, 0o777);
  await cluster.api(CoreV1Api).createPersistentVolume({
    body: {
      metadata: { name: `${namespace}-${claim}` },
      spec: {
        capacity: { storage: '1Gi' },
        accessModes: ['ReadWriteOnce', 'ReadWriteMany'],
        hostPath: { path },
        claimRef: { namespace, name: claim },
      },
    },
  });
  return path;
}
