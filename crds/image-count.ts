/** How many images a job makes. */
import type { SdxlJobSpec } from './generated/sdxl-job.js';

export function imageCount({ numImages, prompts }: Pick<SdxlJobSpec, 'numImages' | 'prompts'>): number {
  return numImages * (prompts?.length ?? 1);
}
