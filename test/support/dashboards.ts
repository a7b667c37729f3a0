/** The dashboards as Grafana reads them: their panels, and the queries that it would send for each. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageFile } from '../../runtime/package-root.js';

export interface Target {
  readonly refId: string;
  readonly expr: string;
  /** With labels as `{{rank}}`; absent in panels that show one number or a table. */
  readonly legendFormat?: string;
  /** Asks for the latest values and not for their course. */
  readonly instant?: boolean;
}

export interface Panel {
  readonly id: number;
  readonly type: 'row' | 'stat' | 'table' | 'timeseries';
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig?: {
    readonly defaults: { readonly unit?: string; readonly thresholds?: { readonly steps: readonly { readonly color: string }[] } };
  };
  readonly targets?: readonly Target[];
}

export interface Dashboard {
  readonly file: string;
  readonly uid: string;
  readonly title: string;
  readonly panels: readonly Panel[];
}

const folder = packageFile('manifests/components/dashboards');

export async function readDashboards(): Promise<readonly Dashboard[]> {
  const names = (await readdir(folder)).filter((name) => name.endsWith('.json')).sort();
  return await Promise.all(
    names.map(async (file) => ({ ...(JSON.parse(await readFile(join(folder, file), 'utf8')) as Omit<Dashboard, 'file'>), file })),
  );
}

/** An expression with every value of the dashboard's variables selected; intervals as PromQL writes them. */
export function fillIn(expr: string, { rateInterval = '5m', range = '1h' } = {}): string {
  return expr.replaceAll('$__rate_interval', rateInterval).replaceAll('$__range', range).replaceAll(/\$\w+/gu, '.*');
}
