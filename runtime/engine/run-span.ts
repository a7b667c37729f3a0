/** What a backend did when, for traces. */

export interface RunSpan {
  /** `segment 3`, `send key_value#12`, `wait key_value#12`, or the name of the whole run's graph. */
  readonly name: string;
  /** Microseconds of {@link clockMicros}. */
  readonly start: number;
  readonly end: number;
}

/**
 * Microseconds of the machine's monotonic clock: the same in every process and thread of one machine, which wall clocks, that are set,
 * and clocks that begin with their process are not.
 */
export function clockMicros(): number {
  const [seconds, nanos] = process.hrtime();
  return seconds * 1e6 + nanos / 1e3;
}

/** Does the work and notes when, if there is somewhere to note it. */
export function timed<T>(spans: RunSpan[] | undefined, name: string, work: () => T): T {
  if (spans === undefined) return work();
  const start = clockMicros();
  const result = work();
  spans.push({ name, start, end: clockMicros() });
  return result;
}
