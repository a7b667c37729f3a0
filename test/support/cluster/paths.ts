/** Where a cluster keeps its files. */
import { join } from 'node:path';

export function kubeconfigFile(directory: string, user: string): string {
  return join(directory, user === 'admin' ? 'kubeconfig' : `${user}.kubeconfig`);
}

export function logFile(directory: string, name: string): string {
  return join(directory, 'logs', `${name}.log`);
}

/** The API server makes it itself; the file ends in the authority that signed it. */
export function servingCertificate(directory: string): string {
  return join(directory, 'certificates', 'apiserver.crt');
}

export function servingKey(directory: string): string {
  return join(directory, 'certificates', 'apiserver.key');
}
