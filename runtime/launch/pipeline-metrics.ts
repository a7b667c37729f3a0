/** Counts what a pipeline reports. */
import type { SdxlJobSpec } from '../../crds/index.js';
import type { RankMetrics } from '../observe/index.js';
import type { PipelineEvent, PipelineObserver } from '../pipeline/index.js';

export function measure(metrics: RankMetrics, { numImages, numInferenceSteps }: SdxlJobSpec): PipelineObserver {
  let done = 0;
  return (event: PipelineEvent): void => {
    switch (event.type) {
      case 'engine':
        metrics.engineReady(event.component, event.cached, event.buildSeconds);
        break;
      case 'stage-ended':
        metrics.stageEnded(event.stage, event.seconds);
        break;
      case 'step':
        metrics.stepEnded(event.seconds);
        metrics.progressed(Math.min(1, (done + event.step / numInferenceSteps) / numImages));
        break;
      case 'image':
        done++;
        metrics.imageEnded(event.skipped ? 'skipped' : 'written', event.seconds);
        metrics.progressed(Math.min(1, done / numImages));
        break;
      case 'stage-started':
      case 'warning':
        break;
    }
  };
}
