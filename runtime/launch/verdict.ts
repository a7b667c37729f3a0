/**
 * Who is to blame. When a rank fails, its peers fail after it, and often their reports arrive first. The rule: what happened to a
 * rank by itself (it died, hung, or reports an error of its own) comes before what it suffered from others (a lost or failed peer, an
 * exchange that never completed); what the launcher did to it counts for nothing. Within each class the earliest counts.
 */
import { errorCatalogue, SdxlError, toSdxlError, type ErrorCode, type SerializedError } from '../errors/index.js';

/** Something that ended a rank. */
export interface Failure {
  readonly rank: number;
  readonly error: SdxlError;
}

const ownFault = 0;
const suffered = 1;
const obeyed = 2;

const weights: Partial<Record<ErrorCode, number>> = {
  COLLECTIVE_TIMEOUT: suffered,
  PEER_LOST: suffered,
  PEER_ABORTED: suffered,
  RENDEZVOUS_TIMEOUT: suffered,
  CANCELLED: obeyed,
};

/** Whether the failure may be no more than the consequence of another rank's. */
export function isConsequence({ error }: Failure): boolean {
  return (weights[error.code] ?? ownFault) !== ownFault;
}

/** The cause among `failures`, given in the order they became known; undefined where there are none but obeyed orders. */
export function findCause(failures: readonly Failure[]): Failure | undefined {
  const byWeight = (weight: number): Failure | undefined => failures.find(({ error }) => (weights[error.code] ?? ownFault) === weight);
  return byWeight(ownFault) ?? byWeight(suffered);
}

/** The launcher's last word: which rank says it, and in `fields.rank` the rank it is about. */
export function describeFailure({ rank, error }: Failure): SdxlError {
  const named = error.fields['rank'];
  const about = aboutOthers.includes(error.code) && typeof named === 'number' ? named : rank;
  const prefix = about === rank ? `rank ${String(rank)}: ` : `rank ${String(rank)} reports: `;
  const described = new SdxlError(error.code, `${prefix}${error.message}`, {
    fields: { ...error.fields, rank: about },
    cause: error.cause,
  });
  if (error.stack !== undefined) described.stack = error.stack;
  return described;
}

/** Their field `rank` is the rank they are about, and their message names it. */
const aboutOthers: readonly ErrorCode[] = ['PEER_LOST', 'PEER_ABORTED', 'RENDEZVOUS_MISMATCH', 'COLLECTIVE_TIMEOUT'];

export function rankExited(
  rank: number,
  end: { readonly code: number | null; readonly signal: string | null },
  lastWords: string,
): SdxlError {
  const how = end.signal === null ? `ended with code ${String(end.code)}` : `was ended by ${end.signal}`;
  const hint = end.signal === 'SIGKILL' ? '; where nobody did it on purpose, memory ran out: see the kernel log' : '';
  const said = lastWords === '' ? '' : `; it last said: ${lastWords}`;
  return new SdxlError(
    'RANK_EXITED',
    `the process ${how}${end.signal === null ? ' without a report' : ', not by its launcher'}${hint}${said}`,
    {
      fields: { rank, ...(end.signal === null ? { exitCode: end.code ?? -1 } : { signal: end.signal }) },
    },
  );
}

/** The system made no process for the rank. */
export function rankNotStarted(rank: number, cause: Error): SdxlError {
  const known = toSdxlError(cause);
  const { code, message } =
    known.code === 'INTERNAL'
      ? { code: 'RANK_EXITED' as const, message: `${cause.message}: processes (ulimit -u) and memory of the machine limit them` }
      : known;
  return new SdxlError(code, `its process can't be started: ${message}`, { fields: { rank }, cause });
}

/** A deadline that the job or the environment sets. */
export interface NamedDeadline {
  readonly name: string;
  readonly seconds: number;
}

/** `deadline` is the one that a rank which is merely slow may have missed. */
export function rankHung(rank: number, what: string, seconds: number, deadline?: NamedDeadline): SdxlError {
  const advice =
    deadline === undefined
      ? ''
      : `, and ${deadline.name} is ${String(deadline.seconds)}: if the rank is merely slow, raise ${deadline.name}, else see what it hangs in`;
  return new SdxlError('RANK_HUNG', `${what} for ${seconds.toFixed(1)} s${advice}`, {
    fields: {
      rank,
      seconds: Math.round(seconds * 10) / 10,
      ...(deadline === undefined ? {} : { deadline: deadline.name, deadlineSeconds: deadline.seconds }),
    },
  });
}

/** Parses what a rank reported; a code no catalogue knows is a defect. */
export function reviveError(error: SerializedError): SdxlError {
  return Object.hasOwn(errorCatalogue, error.code) ? SdxlError.fromJSON(error) : SdxlError.fromJSON({ ...error, code: 'INTERNAL' });
}
