/** What whoever runs the operator looks at: who leads, what it does, and what it hears of the API server. */
import { RowBuilder, type DashboardBuilder } from '@grafana/grafana-foundation-sdk/dashboard';
import { dashboard, lines, number } from './panels.js';

const operators = 'namespace=~"$namespace"';

const quantile = (q: number, metric: string, by: string): string =>
  `histogram_quantile(${q}, sum by (${['le', by].filter(Boolean).join(', ')}) (rate(${metric}_bucket{${operators}}[$__rate_interval])))`;

/** Every process may have series of that name: those of targets that are operators. */
const ofOperators = (series: string): string => `${series} and on (namespace, pod, instance) sdxl_operator_build_info{${operators}}`;

export function operatorDashboard(): DashboardBuilder {
  return dashboard(
    'sdxl-operator',
    'SDXL operator',
    'The operator of SdxlJobs: leadership, reconciliation, watches, API calls, resources.',
    {
      namespace: 'sdxl_operator_build_info',
    },
  )
    .withRow(new RowBuilder('Operator'))
    .withPanel(
      number('Active', `sum(sdxl_operator_is_leader{${operators}})`, { description: 'Replicas that hold a lease: one for each operator.' }),
    )
    .withPanel(number('Replicas', `count(sdxl_operator_build_info{${operators}})`, { description: 'Replicas that are scraped.' }))
    .withPanel(
      number('Jobs', `count(max by (namespace, job) (sdxl_job_info))`, {
        description: 'SdxlJobs that the operators know.',
      }),
    )
    .withPanel(number('Queue', `sum(sdxl_operator_queue_depth{${operators}})`, { description: 'Jobs that wait to be looked at.' }))
    .withPanel(
      number('Errors', `sum(increase(sdxl_operator_reconcile_total{${operators}, result="error"}[$__range]))`, {
        description: 'Reconciliations that failed in the time shown.',
        redFrom: 1,
      }).decimals(0),
    )
    .withPanel(
      number('Oldest watch', `max(time() - sdxl_operator_watch_last_event_timestamp_seconds{${operators}})`, {
        description: 'How long the most silent watch has heard nothing, bookmarks included.',
        unit: 's',
        redFrom: 300,
      }),
    )
    .withPanel(
      lines(
        'Leader',
        { '{{namespace}}/{{pod}}': `sdxl_operator_is_leader{${operators}}` },
        { description: 'Who held the lease when. There are never two of one operator.' },
      ).max(1),
    )
    .withPanel(
      lines(
        'Reconciliations',
        { '{{result}}': `sum by (result) (rate(sdxl_operator_reconcile_total{${operators}}[$__rate_interval]))` },
        { description: 'A second, by result. A conflict is tried again at once with what is new.', unit: 'ops' },
      ),
    )
    .withPanel(
      lines(
        'Duration of a reconciliation',
        {
          median: quantile(0.5, 'sdxl_operator_reconcile_seconds', ''),
          '99th percentile': quantile(0.99, 'sdxl_operator_reconcile_seconds', ''),
        },
        { description: 'From the reading of caches to the last write.', unit: 's' },
      ),
    )
    .withPanel(
      lines(
        'Queue',
        { '{{namespace}}/{{pod}}': `sdxl_operator_queue_depth{${operators}}` },
        { description: 'Jobs that wait to be looked at.' },
      ),
    )
    .withPanel(
      lines(
        'Time in the queue',
        {
          median: quantile(0.5, 'sdxl_operator_queue_wait_seconds', ''),
          '99th percentile': quantile(0.99, 'sdxl_operator_queue_wait_seconds', ''),
        },
        { description: 'From a change until it is looked at.', unit: 's' },
      ),
    )
    .withPanel(
      lines(
        'Silence of watches',
        { '{{resource}} {{pod}}': `time() - sdxl_operator_watch_last_event_timestamp_seconds{${operators}}` },
        { description: 'Time since the last event or bookmark.', unit: 's' },
      ),
    )
    .withRow(new RowBuilder('API server'))
    .withPanel(
      lines(
        'Calls by result',
        { '{{code}}': `sum by (code) (rate(sdxl_operator_api_requests_total{${operators}}[$__rate_interval]))` },
        { description: 'Calls a second, by status code.', unit: 'reqps' },
      ),
    )
    .withPanel(
      lines(
        'Calls by resource',
        { '{{verb}} {{resource}}': `sum by (verb, resource) (rate(sdxl_operator_api_requests_total{${operators}}[$__rate_interval]))` },
        { description: 'Calls a second, by what they do.', unit: 'reqps' },
      ),
    )
    .withPanel(
      lines(
        'Duration of calls',
        { '{{verb}}': quantile(0.99, 'sdxl_operator_api_request_seconds', 'verb') },
        { description: '99th percentile, by verb.', unit: 's' },
      ),
    )
    .withPanel(
      lines(
        'Watches started again',
        {
          '{{resource}}: {{reason}}': `sum by (resource, reason) (increase(sdxl_operator_watch_restarts_total{${operators}}[$__rate_interval]))`,
        },
        { description: 'In the last minutes, by why. API servers end each watch after some minutes: that is no fault.' },
      ),
    )
    .withPanel(
      lines(
        'Memory',
        { '{{namespace}}/{{pod}}': ofOperators(`process_resident_memory_bytes{${operators}}`) },
        { description: 'Resident memory of each replica.', unit: 'bytes' },
      ),
    )
    .withPanel(
      lines(
        'Processor',
        { '{{namespace}}/{{pod}}': ofOperators(`rate(process_cpu_seconds_total{${operators}}[$__rate_interval])`) },
        { description: 'Processors in use by each replica.' },
      ),
    );
}
