/** What docs/operator.md and docs/metrics.md promise, read from their tables. */
import { readFile } from 'node:fs/promises';

export interface Right {
  readonly group: string;
  readonly resource: string;
  readonly verb: string;
}

/** The operator's rights, but for those on the Lease, which are in another role. */
export async function promisedRights(): Promise<readonly Right[]> {
  const rows = await tableRows('docs/operator.md', 'API group');
  return rows.flatMap(([group = '', resources = '', verbs = '']) => {
    const named = words(group)[0] ?? '';
    if (named === 'coordination.k8s.io') return [];
    return words(resources).flatMap((resource) => verbs.split(', ').map((verb) => ({ group: named, resource, verb })));
  });
}

export async function promisedOptions(): Promise<readonly string[]> {
  const rows = await tableRows('docs/operator.md', 'Option');
  return rows.map(([option = '']) => /--[-a-z]+/u.exec(option)?.[0] ?? '');
}

/** Names of series with their labels; histograms under their names without suffix. */
export async function promisedMetrics(): Promise<ReadonlyMap<string, readonly string[]>> {
  const ofOperator = await tableRows('docs/operator.md', 'Name');
  const ofRanks = await tableRows('docs/metrics.md', 'Name');
  return new Map([
    ...ofOperator
      .filter(([, type = '']) => /gauge|counter|histogram/u.test(type))
      .map(([name = '', , text = '']) => [words(name)[0] ?? '', labels(text)] as const),
    ...ofRanks.map(([name = '', , text = '']) => [words(name)[0] ?? '', ['job', 'rank', ...labels(text)]] as const),
  ]);
}

/** `namespace`, `result`: `complete`, `failed` is two labels, the second with its values. */
function labels(text: string): readonly string[] {
  const [before = ''] = text.split(/(?<=`):/u);
  return words(before);
}

/** Cells of the rows of each table whose first column has this title. */
async function tableRows(file: string, title: string): Promise<readonly (readonly string[])[]> {
  const rows: string[][] = [];
  let inside = false;
  for (const line of (await readFile(file, 'utf8')).split('\n')) {
    const cells = line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim());
    if (cells.length === 0) inside = false;
    else if (cells[0] === title) inside = true;
    else if (inside && !/^-+$/u.test(cells[0] ?? '')) rows.push(cells);
  }
  return rows;
}

/** What stands between backticks. */
function words(text: string): readonly string[] {
  return [...text.matchAll(/`([^`]+)`/gu)].map(([, word = '']) => word);
}
