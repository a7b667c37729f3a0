/** Why a container ended, for Kubernetes to show in the pod's status: one JSON object, cut to what the kubelet keeps. */
import { writeFile } from 'node:fs/promises';
import type { SdxlError } from '../errors/index.js';

/** The kubelet keeps 4096 bytes of each container; JSON escapes may double a character. */
const maxMessageLength = 1_500;

/** What a run that succeeded says of itself. */
export interface RunSummary {
  readonly images: number;
  readonly imagesWritten: number;
  readonly latencySeconds: { readonly mean: number; readonly p50: number; readonly p95: number } | null;
  /** Seconds of each image written, where all of them fit. */
  readonly samples: readonly number[];
}

const maxSamples = 300;

/** So that what a run took is known where it was over before anybody could ask. */
export async function writeRunSummary(path: string, summary: RunSummary): Promise<void> {
  const samples = summary.samples.length > maxSamples ? [] : summary.samples.map((seconds) => Math.round(seconds * 1000) / 1000);
  await writeFile(path, `${JSON.stringify({ ...summary, samples })}\n`);
}

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
