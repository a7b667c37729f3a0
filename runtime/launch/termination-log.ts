/** Why a container ended, for Kubernetes to show in the pod's status: one JSON object, cut to what the kubelet keeps. */
import { writeFile } from 'node:fs/promises';
import type { SdxlError } from '../errors/index.js';

/** The kubelet keeps 4096 bytes of each container; JSON escapes may double a character. */
const maxMessageLength = 1_500;

export async function writeTerminationLog(path: string, error: SdxlError, exitCode: number = error.exitCode): Promise<void> {
  const rank = error.fields['rank'];
  const message = error.message.length > maxMessageLength ? `${error.message.slice(0, maxMessageLength)}…` : error.message;
  const content = {
    code: error.code,
    exitCode,
    retriable: error.retriable,
    ...(typeof rank === 'number' ? { rank } : {}),
    message,
  };
  await writeFile(path, `${JSON.stringify(content)}\n`);
}
