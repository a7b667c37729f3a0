/** The kinds of panels that the dashboards are made of, and how a dashboard becomes a file. */
import {
  LegendDisplayMode,
  LegendPlacement,
  TooltipDisplayMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import {
  DashboardBuilder,
  DashboardCursorSync,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
  VariableSort,
  type Dashboard,
  type Threshold,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder, PromQueryFormat } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

/** Prometheus as the user chose it at the top of the dashboard. */
const datasource = { type: 'prometheus', uid: '${datasource}' };

interface Look {
  readonly description: string;
  /** Grafana's name of the unit, such as `s` or `Bps`. */
  readonly unit?: string;
  /** In grid columns of 24. */
  readonly width?: number;
}

interface NumberLook extends Look {
  /** From here on the number is red. Grafana's own limit, where none is set, is 80. */
  readonly redFrom?: number;
}

/** PromQL by legend; a legend may name labels as `{{rank}}`. */
export type Queries = Readonly<Record<string, string>>;

export function lines(title: string, queries: Queries, { description, unit = 'short', width = 8 }: Look): TimeseriesBuilder {
  const panel = new TimeseriesBuilder()
    .title(title)
    .description(description)
    .datasource(datasource)
    .unit(unit)
    .min(0)
    .fillOpacity(10)
    .height(8)
    .span(width)
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi))
    .legend(new VizLegendOptionsBuilder().displayMode(LegendDisplayMode.List).placement(LegendPlacement.Bottom).showLegend(true));
  return panel.targets(targets(queries));
}

export function number(title: string, query: string, { description, unit = 'short', width = 4, redFrom }: NumberLook): StatBuilder {
  const steps: Threshold[] = [{ value: null, color: 'text' }];
  if (redFrom !== undefined) steps.push({ value: redFrom, color: 'red' });
  const target = new DataqueryBuilder().expr(query).datasource(datasource).refId('A').instant();
  const panel = new StatBuilder().title(title).description(description).datasource(datasource).unit(unit).height(4).span(width);
  return panel.thresholds(new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps)).noValue('0').targets([target]);
}

/** Name of a query of a table whose labels are shown and whose value is not. */
export const unnamed = '';

/**
 * One row for each combination of the labels that its queries share, and a column for each query.
 * @param columns names of labels and queries, in the order in which they stand
 */
export function table(title: string, queries: Queries, columns: readonly string[], { description, width = 24 }: Look): TableBuilder {
  const targets = Object.values(queries).map((query, index) =>
    new DataqueryBuilder().expr(query).datasource(datasource).refId(refId(index)).instant().format(PromQueryFormat.Table),
  );
  const excludeByName: Record<string, boolean> = { Time: true };
  const renameByName: Record<string, string> = {};
  for (const [index, name] of Object.keys(queries).entries()) {
    const column = `Value #${refId(index)}`;
    if (name === unnamed) excludeByName[column] = true;
    else renameByName[column] = name;
  }
  const fieldOf = (name: string): string => Object.keys(renameByName).find((field) => renameByName[field] === name) ?? name;
  const indexByName = Object.fromEntries(columns.map((name, index) => [fieldOf(name), index]));
  return new TableBuilder()
    .title(title)
    .description(description)
    .datasource(datasource)
    .height(10)
    .span(width)
    .targets(targets)
    .withTransformation({ id: 'merge', options: {} })
    .withTransformation({ id: 'organize', options: { excludeByName, indexByName, renameByName } });
}

/** PromQL's selector of the series that a variable's values come from, by the label whose values are offered. */
export type Variables = Readonly<Record<string, string>>;

export function dashboard(uid: string, title: string, description: string, variables: Variables): DashboardBuilder {
  const builder = new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags(['sdxl-operator'])
    .time({ from: 'now-1h', to: 'now' })
    .refresh('30s')
    .timezone('browser')
    .tooltip(DashboardCursorSync.Crosshair)
    .withVariable(new DatasourceVariableBuilder('datasource').label('Prometheus').type('prometheus'));
  for (const [label, selector] of Object.entries(variables)) {
    builder.withVariable(
      new QueryVariableBuilder(label)
        .label(label)
        .datasource(datasource)
        .query({ query: `label_values(${selector}, ${label})`, refId: label })
        .refresh(VariableRefresh.OnTimeRangeChanged)
        .sort(VariableSort.AlphabeticalAsc)
        .multi(true)
        .includeAll(true)
        .allValue('.*')
        .current({ selected: true, text: 'All', value: '$__all' }),
    );
  }
  return builder;
}

/** The file's text. Panels are numbered in order, since links to a panel are by number. */
export function renderDashboard(builder: DashboardBuilder): string {
  const built: Dashboard = builder.build();
  const panels = (built.panels ?? []).map((panel, index) => ({ ...panel, id: index + 1 }));
  return JSON.stringify({ ...built, panels });
}

function targets(queries: Queries): DataqueryBuilder[] {
  return Object.entries(queries).map(([legend, query], index) =>
    new DataqueryBuilder().expr(query).datasource(datasource).refId(refId(index)).legendFormat(legend).range(),
  );
}

const refId = (index: number): string => String.fromCharCode('A'.charCodeAt(0) + index);
