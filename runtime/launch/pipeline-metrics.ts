/** Counts what a pipeline reports. */
import { imageCount } from '../../crds/image-count.js';
import type { SdxlJobSpec } from '../../crds/index.js';
import { JobProgress, type RankMetrics } from '../observe/index.js';
import type { PipelineEvent, PipelineObserver } from '../pipeline/index.js';
import { stepsOfImages } from './job-request.js';

export function measure(metrics: RankMetrics, spec: SdxlJobSpec): PipelineObserver {
  const progress = new JobProgress(stepsOfImages(spec, imageCount(spec)));
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
        progress.stepEnded(event.image, event.step);
        metrics.progressed(progress.ratio);
        break;
      case 'replica-step':
        progress.stepEnded(event.image, event.step);
        metrics.progressed(progress.ratio);
        break;
      case 'image':
        progress.imageEnded(event.image);
        metrics.imageEnded(event.skipped ? 'skipped' : 'written', event.seconds);
        metrics.progressed(progress.ratio);
        break;
      case 'stage-started':
      case 'waiting':
      case 'warning':
        break;
    }
  };
}
