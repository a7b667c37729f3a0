/** What a process tells at /metrics, read for a benchmark. */

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export function parseExposition(text: string): Sample[] {
  return text.split('\n').flatMap((line): Sample[] => {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/u.exec(line);
    if (match === null) return [];
    const labels = [...(match[2] ?? '').matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/gu)].map(([, name = '', value = '']) => [name, value] as const);
    return [{ name: match[1] ?? '', labels: Object.fromEntries(labels), value: Number(match[3]) }];
  });
}

export function total(samples: readonly Sample[], name: string, matches: (labels: Sample['labels']) => boolean = () => true): number {
  return samples.filter((sample) => sample.name === name && matches(sample.labels)).reduce((sum, { value }) => sum + value, 0);
}

/** Quantile of a histogram without labels: linear within its bucket, as Prometheus estimates it. */
export function quantile(samples: readonly Sample[], name: string, share: number): number {
  const buckets = samples
    .filter((sample) => sample.name === `${name}_bucket`)
    .map(({ labels, value }) => [Number(labels['le']?.replace('+Inf', 'Infinity')), value] as const);
  const rank = share * (buckets.at(-1)?.[1] ?? 0);
  let [below, counted] = [0, 0];
  for (const [bound, count] of buckets) {
    if (count >= rank) return bound === Infinity ? below : below + ((bound - below) * (rank - counted)) / Math.max(1, count - counted);
    [below, counted] = [bound, count];
  }
  return Number.NaN;
}
