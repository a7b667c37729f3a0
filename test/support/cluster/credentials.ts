/** Who may talk to the API server: bearer tokens, the key of ServiceAccounts, and kubeconfigs that hold them. */
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { stringify } from 'yaml';

/** Users by the name of their kubeconfig. The two controllers have the roles that Kubernetes gives to their names. */
const users = {
  admin: { user: 'admin', groups: 'system:masters' },
  'kube-controller-manager': { user: 'system:kube-controller-manager', groups: '' },
  'kube-scheduler': { user: 'system:kube-scheduler', groups: '' },
  'node-agent': { user: 'system:node-agent', groups: 'system:masters' },
} as const;
export type User = keyof typeof users;

export interface Credentials {
  readonly tokens: Readonly<Record<User, string>>;
  readonly tokenFile: string;
  readonly serviceAccountKeyFile: string;
}

export async function writeCredentials(directory: string): Promise<Credentials> {
  const tokens = {
    admin: randomUUID(),
    'kube-controller-manager': randomUUID(),
    'kube-scheduler': randomUUID(),
    'node-agent': randomUUID(),
  };
  const tokenFile = join(directory, 'tokens.csv');
  const rows = Object.entries(users).map(([name, { user, groups }]) => `${tokens[name as User]},${user},${user},"${groups}"\n`);
  await writeFile(tokenFile, rows.join(''), { mode: 0o600 });

  const serviceAccountKeyFile = join(directory, 'service-account.key');
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  await writeFile(serviceAccountKeyFile, privateKey.export({ type: 'pkcs8', format: 'pem' }), { mode: 0o600 });
  return { tokens, tokenFile, serviceAccountKeyFile };
}

export interface Kubeconfig {
  readonly server: string;
  readonly token: string;
  readonly namespace: string;
}

export function kubeconfig({ server, token, namespace }: Kubeconfig, certificateAuthority: string): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'test',
    contexts: [{ name: 'test', context: { cluster: 'test', user: 'test', namespace } }],
    clusters: [{ name: 'test', cluster: { server, 'certificate-authority-data': Buffer.from(certificateAuthority).toString('base64') } }],
    users: [{ name: 'test', user: { token } }],
  });
}
