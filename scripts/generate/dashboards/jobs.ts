/** What users of a cluster look at: which jobs there are, how far they are, how long an image takes and what the ranks spend their time on. */
import { MappingType, RowBuilder, type DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import { dashboard, lines, number, table, unnamed } from './panels.js';

const jobs = 'namespace=~"$namespace", job=~"$job"';
const all = 'namespace=~"$namespace"';

/** Each replica of the operator shows every job: the maximum counts a job once. */
const condition = (type: string): string => `max by (namespace, job) (sdxl_job_condition{${jobs}, type="${type}"})`;

const quantile = (q: number, metric: string): string =>
  `histogram_quantile(${q}, sum by (le) (rate(${metric}_bucket{${all}}[$__rate_interval])))`;

/** Mean of a histogram of the ranks. */
const mean = (metric: string, by: string): string =>
  `sum by (${by}) (rate(${metric}_sum{${jobs}}[$__rate_interval])) / sum by (${by}) (rate(${metric}_count{${jobs}}[$__rate_interval]))`;

/** Engines are there once a rank, before the first scrape as a rule: their mean is that of all, not of those since the last scrape. */
const meanOfAll = (metric: string, by: string): string =>
  `sum by (${by}) (${metric}_sum{${jobs}}) / sum by (${by}) (${metric}_count{${jobs}})`;

const byRank = 'namespace, job, rank';
const rank = '{{namespace}}/{{job}} rank {{rank}}';

const state = [
  `sdxl_job_condition{${jobs}, type="GangReady"}`,
  `2 * sdxl_job_condition{${jobs}, type="Suspended"}`,
  `4 * sdxl_job_condition{${jobs}, type="Complete"}`,
  `8 * sdxl_job_condition{${jobs}, type="Failed"}`,
].join(' or ');

export function jobsDashboard(): DashboardBuilder {
  return dashboard('sdxl-jobs', 'SDXL jobs', 'SdxlJobs: state, progress, latency of images, time of ranks.', {
    namespace: 'sdxl_job_info',
    job: 'sdxl_job_info{namespace=~"$namespace"}',
  })
    .withRow(new RowBuilder('Jobs'))
    .withPanel(number('Running', `sum(${condition('GangReady')})`, { description: 'Jobs of which every pod runs.' }))
    .withPanel(
      number(
        'Waiting',
        `count(${condition('GangReady')} == 0 unless max by (namespace, job) (sdxl_job_condition{${jobs}, type=~"Suspended|Complete|Failed"}) == 1)`,
        {
          description: 'Jobs that have no running gang yet, or wait for the next attempt.',
        },
      ),
    )
    .withPanel(number('Suspended', `sum(${condition('Suspended')})`, { description: 'Jobs that spec.suspend holds.' }))
    .withPanel(number('Complete', `sum(${condition('Complete')})`, { description: 'Complete jobs that are still there.' }))
    .withPanel(number('Failed', `sum(${condition('Failed')})`, { description: 'Failed jobs that are still there.', redFrom: 1 }))
    .withPanel(
      number('Images', `sum(increase(sdxl_job_image_latency_seconds_count{${all}}[$__range]))`, {
        description: 'Images of jobs that were completed in the time shown.',
      }).decimals(0),
    )
    .withPanel(
      table(
        'Jobs',
        {
          [unnamed]: `max by (namespace, job, size, ranks, pods, backend) (sdxl_job_info{${jobs}})`,
          state: `max by (namespace, job) (${state})`,
          progress: `max by (namespace, job) (sdxl_job_progress_ratio{${jobs}})`,
          'last heard of': `1000 * max by (namespace, job) (sdxl_job_heartbeat_timestamp_seconds{${jobs}})`,
        },
        ['namespace', 'job', 'state', 'progress', 'last heard of', 'size', 'ranks', 'pods', 'backend'],
        { description: 'Every job that is there, with what its ranks told last.' },
      )
        .overrideByName('progress', [
          { id: 'unit', value: 'percentunit' },
          { id: 'custom.cellOptions', value: { type: 'gauge', mode: 'basic' } },
          { id: 'max', value: 1 },
        ])
        .overrideByName('last heard of', [{ id: 'unit', value: 'dateTimeFromNow' }])
        .overrideByName('state', [
          {
            id: 'mappings',
            value: [
              {
                type: MappingType.ValueToText,
                options: {
                  0: { text: 'Waiting', color: 'yellow', index: 0 },
                  1: { text: 'Running', color: 'blue', index: 1 },
                  2: { text: 'Suspended', color: 'gray', index: 2 },
                  4: { text: 'Complete', color: 'green', index: 3 },
                  8: { text: 'Failed', color: 'red', index: 4 },
                },
              },
            ],
          },
          { id: 'custom.cellOptions', value: { type: 'color-text' } },
        ]),
    )
    .withPanel(
      lines(
        'Progress',
        { '{{namespace}}/{{job}}': `max by (namespace, job) (sdxl_job_progress_ratio{${jobs}})` },
        { description: "Share of a job's denoising steps that are done.", unit: 'percentunit', width: 12 },
      ).max(1),
    )
    .withPanel(
      lines(
        'Finished',
        { '{{result}}': `sum by (result) (increase(sdxl_jobs_finished_total{${all}}[$__rate_interval]))` },
        { description: 'Jobs that ended in the last minutes, by how.', width: 6 },
      ),
    )
    .withPanel(
      lines(
        'Restarts',
        { '{{reason}}': `sum by (reason) (increase(sdxl_job_restarts_total{${all}}[$__rate_interval]))` },
        {
          description: 'Gangs started again in the last minutes: after a failure of a rank, or after the cluster took a pod away.',
          width: 6,
        },
      ),
    )
    .withRow(new RowBuilder('Latency'))
    .withPanel(
      lines(
        'Latency of an image',
        { median: quantile(0.5, 'sdxl_job_image_latency_seconds'), '95th percentile': quantile(0.95, 'sdxl_job_image_latency_seconds') },
        { description: 'From the prompt to the written file, over all jobs of the namespaces.', unit: 's', width: 12 },
      ),
    )
    .withPanel(
      lines(
        'Time until a gang runs',
        { median: quantile(0.5, 'sdxl_job_startup_seconds'), '95th percentile': quantile(0.95, 'sdxl_job_startup_seconds') },
        { description: 'From the start of a job until every pod runs.', unit: 's', width: 12 },
      ),
    )
    .withRow(new RowBuilder('Ranks'))
    .withPanel(
      lines(
        'Denoising step by rank',
        { [rank]: mean('sdxl_step_seconds', byRank) },
        {
          description:
            'Mean duration of a step, exchanges included. A rank that computes slowly makes all of them slow: see its exchanges.',
          unit: 's',
        },
      ),
    )
    .withPanel(
      lines(
        'Share of time in exchanges',
        { [rank]: `sum by (${byRank}) (rate(sdxl_collective_seconds_sum{${jobs}, operation!~"report|turn"}[$__rate_interval]))` },
        {
          description: 'Transfer and waiting for peers. The rank with the smallest share is the one that the others wait for.',
          unit: 'percentunit',
        },
      ),
    )
    .withPanel(
      lines(
        'Stages of an image',
        { '{{stage}}': mean('sdxl_stage_seconds', 'stage') },
        { description: 'Mean duration of a stage, over all ranks.', unit: 's' },
      ),
    )
    .withPanel(
      lines(
        'Sent by purpose',
        { '{{operation}}': `sum by (operation) (rate(sdxl_collective_bytes_total{${jobs}, direction="sent"}[$__rate_interval]))` },
        { description: 'Payload that ranks sent to each other.', unit: 'Bps' },
      ),
    )
    .withPanel(
      lines(
        'An exchange by purpose',
        { '{{operation}}': mean('sdxl_collective_seconds', 'operation') },
        { description: 'Mean duration of one exchange, waiting for peers included.', unit: 's' },
      ),
    )
    .withPanel(
      lines(
        'Engines',
        { '{{component}}, cached: {{cached}}': meanOfAll('sdxl_engine_build_seconds', 'component, cached') },
        { description: 'Mean time until an engine was built or found in the cache, of the ranks that run.', unit: 's' },
      ),
    );
}
