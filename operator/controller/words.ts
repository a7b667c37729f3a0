/** What pods say of themselves. Their image may be anybody's: what the schema of a job's status would refuse is not repeated there. */

/** The object a text holds, if it is one. */
export function parseObject(text: string): Readonly<Record<string, unknown>> | undefined {
  if (!text.startsWith('{')) return undefined;
  try {
    return JSON.parse(text) as Readonly<Record<string, unknown>>;
  } catch {
    return undefined; // Cut by the kubelet, or not ours.
  }
}

/** An int32 from 0. */
export function isCount(value: unknown): value is number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31;
}

export function isDuration(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value < 1e9;
}

export function isRatio(value: unknown): value is number {
  return typeof value === 'number' && value >= 0 && value <= 1;
}
