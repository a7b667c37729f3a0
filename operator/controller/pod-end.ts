/** How pods end, and which of them is to blame when a gang does. The rule is the launcher's: what happened to a pod by itself comes before what it suffered from others. */
import { buildContainer, fetchContainer, rankContainer, timestamp, type JobFailure } from '../api/index.js';
import { holds, type ContainerState, type GangJob, type GangPod } from './observed.js';
import { isCount, parseObject } from './words.js';

/** What the launcher writes to the termination log (docs/cli.md). */
export interface LastWords {
  readonly code: string;
  readonly exitCode: number;
  readonly retriable: boolean;
  readonly rank?: number;
  readonly message: string;
}

/** What ended a gang. */
export interface GangEnd {
  readonly kind: 'failure' | 'disruption' | 'final';
  /** One CamelCase word. */
  readonly reason: string;
  readonly failure: JobFailure;
}

/** Codes of the runtime that tell of others' ends. */
const consequences = ['PEER_LOST', 'PEER_ABORTED', 'COLLECTIVE_TIMEOUT', 'RENDEZVOUS_TIMEOUT'];
/** The same input gives the same end: docs/cli.md. */
const finalExitCodes = [2, 3, 4];
const terminated = 143;
const isCode = /^[A-Z][A-Z0-9_]{0,63}$/u;

/** A pod deleted so long ago, its grace period included, that nobody will say how it ended: its node is lost. */
export const lostPodMs = 15_000;

export function isEnded({ phase }: GangPod): boolean {
  return phase === 'Failed' || phase === 'Succeeded';
}

/** The ranks' container where it has ended, and the pod perhaps not: a sidecar may hold it. */
export function ranksEnd({ containers }: GangPod): ContainerState['terminated'] {
  return containers.find(({ name }) => name === rankContainer)?.terminated;
}

/** Deleted, and its node has not ended it although its time is over. */
export function isLost(pod: GangPod, now: Date): boolean {
  const { deletionTimestamp } = pod.metadata;
  // A deletionTimestamp is when the grace period ends.
  return !isEnded(pod) && typeof deletionTimestamp === 'string' && now.getTime() - Date.parse(deletionTimestamp) > lostPodMs;
}

/** A Job that was deleted so long ago that only somebody else's finalizer can hold it: it makes no pods any more. */
export function isHeld({ metadata: { deletionTimestamp } }: GangJob, now: Date): boolean {
  return typeof deletionTimestamp === 'string' && now.getTime() - Date.parse(deletionTimestamp) > lostPodMs;
}

/** The cluster took it away, or is about to. */
export function isDisrupted(pod: GangPod): boolean {
  return holds(pod, 'DisruptionTarget');
}

/**
 * What ended the gang whose pods these are. `pods` are those of one attempt, all ended, lost or gone; `count` of them were wanted.
 * `taken` is what was known of a pod that the cluster took away: it may be gone before its peers have ended.
 */
export function judgeGang(attempt: number, pods: readonly GangPod[], count: number, now: Date, taken: JobFailure | undefined): GangEnd {
  const disrupted = pods.find(isDisrupted) ?? pods.find((pod) => isLost(pod, now));
  const failures = pods.flatMap((pod) => failuresOf(pod));
  const own = failures.filter(({ weight }) => weight === 0).sort(byTime);
  // A rank that must not be tried again says so whatever else happened; a killed one says nothing of itself.
  const final = own.find(isFinal);
  if (final !== undefined)
    return { kind: 'final', reason: camelCase(final.failure.code ?? 'Failed'), failure: { attempt, ...final.failure } };
  const disruption = disrupted === undefined ? taken : disruptionOf(attempt, disrupted, now);
  if (disruption !== undefined) return { kind: 'disruption', reason: camelCase(disruption.code ?? 'Disrupted'), failure: disruption };
  const deleted = failures.every(({ weight }) => weight === 2) ? pods.find(wasDeleted) : undefined;
  if (deleted !== undefined) return { kind: 'disruption', reason: 'PodDeleted', failure: deletionOf(attempt, deleted, now) };
  const cause = own[0] ?? failures.sort(byWeightAndTime)[0];
  if (cause === undefined) {
    const failure = { attempt, code: 'PodsGone', message: 'the pods of the attempt are gone, and nothing tells why', time: timestamp(now) };
    return { kind: 'disruption', reason: 'PodsGone', failure };
  }
  const end = { reason: camelCase(cause.failure.code ?? 'Failed'), failure: { attempt, ...cause.failure } };
  // Ranks that waited in vain for pods that had no node, image or claim are not to blame, and neither are those pods.
  const waitedFor = pods.filter((pod) => hasRun(pod) && !isPlacedAfter(pod, cause.failure.time));
  const incomplete = cause.failure.code === 'RENDEZVOUS_TIMEOUT' && waitedFor.length < count;
  return { kind: incomplete ? 'disruption' : 'failure', ...end };
}

function hasRun(pod: GangPod): boolean {
  return pod.phase === 'Running' || ranksEnd(pod) !== undefined;
}

/** It got its place, perhaps that of the peer that had waited for it, when that one had given up. */
function isPlacedAfter({ conditions }: GangPod, time: string | undefined): boolean {
  const placed = conditions.find(({ type, status }) => type === 'PodScheduled' && status === 'True')?.lastTransitionTime;
  return placed !== undefined && time !== undefined && Date.parse(placed) >= Date.parse(time);
}

/** Of a pod that the cluster took away, or whose node is lost. */
export function disruptionOf(attempt: number, pod: GangPod, now: Date): JobFailure {
  const condition = pod.conditions.find(({ type, status }) => type === 'DisruptionTarget' && status === 'True');
  const reason = condition?.reason ?? 'NodeLost';
  const onNode = pod.node === undefined ? '' : ` on node ${pod.node}`;
  const told = condition?.message ?? pod.message ?? 'it was deleted and its node has not ended it';
  return {
    attempt,
    pod: pod.metadata.name,
    code: reason,
    message: `pod ${pod.metadata.name}${onNode}: ${told}`.slice(0, 4000),
    time: timestamp(now),
  };
}

export function wasDeleted({ metadata: { deletionTimestamp } }: GangPod): boolean {
  return typeof deletionTimestamp === 'string';
}

/** Of a pod that somebody deleted while nothing was wrong with its gang. */
export function deletionOf(attempt: number, { metadata: { name }, node }: GangPod, now: Date): JobFailure {
  const onNode = node === undefined ? '' : ` on node ${node}`;
  return {
    attempt,
    pod: name,
    code: 'PodDeleted',
    message: `pod ${name}${onNode}: it was deleted, and not by this operator`,
    time: timestamp(now),
  };
}

interface PodFailure {
  /** 0: its own; 1: suffered from others; 2: it was told to end. */
  readonly weight: 0 | 1 | 2;
  /** Undefined: it did not say. */
  readonly retriable: boolean | undefined;
  readonly failure: JobFailure;
}

function failuresOf(pod: GangPod): PodFailure[] {
  const failures = (containers: GangPod['containers']): PodFailure[] =>
    containers.flatMap((container) => containerFailure(pod, container) ?? []);
  // What others have put into the pod is killed once the ranks have ended: it is to blame where nothing of ours failed.
  const own = failures(pod.containers.filter(isOwn));
  const found = own.length > 0 ? own : failures(pod.containers);
  if (found.length > 0 || pod.phase !== 'Failed') return found;
  const failure = { pod: pod.metadata.name, code: pod.reason ?? 'PodFailed', message: pod.message ?? 'the pod failed without a word' };
  return [{ weight: 0, retriable: undefined, failure }];
}

function isOwn({ name }: ContainerState): boolean {
  return name === rankContainer || name === buildContainer || name === fetchContainer;
}

function containerFailure(pod: GangPod, { name, init, terminated: end }: ContainerState): PodFailure | undefined {
  if (end === undefined || end.exitCode === 0) return undefined;
  const words = parseLastWords(end.message);
  const place = { pod: pod.metadata.name, exitCode: end.exitCode, ...(end.finishedAt === undefined ? {} : { time: end.finishedAt }) };
  if (words === undefined) {
    const where = init ? `init container ${name}` : `container ${name}`;
    const said = end.message.trim() === '' ? '' : `: ${end.message.trim().slice(0, 2000)}`;
    const code = end.reason === '' || end.reason === 'Error' ? 'ContainerExited' : end.reason;
    return {
      weight: end.exitCode === terminated ? 2 : 0,
      retriable: undefined,
      failure: { ...place, code, message: `${where} ended with code ${String(end.exitCode)} (${end.reason})${said}` },
    };
  }
  const { code, rank, message, retriable } = words;
  return {
    weight: code === 'CANCELLED' ? 2 : consequences.includes(code) ? 1 : 0,
    retriable,
    failure: { ...place, code, message, ...(rank === undefined ? {} : { rank }) },
  };
}

function isFinal({ retriable, failure: { exitCode } }: PodFailure): boolean {
  if (retriable !== undefined) return !retriable;
  return exitCode !== undefined && finalExitCodes.includes(exitCode);
}

function byTime(a: PodFailure, b: PodFailure): number {
  return (a.failure.time ?? '') < (b.failure.time ?? '') ? -1 : 1;
}

function byWeightAndTime(a: PodFailure, b: PodFailure): number {
  return a.weight - b.weight || byTime(a, b);
}

function parseLastWords(message: string): LastWords | undefined {
  const words = parseObject(message);
  const { code, exitCode, retriable, rank, message: said } = words ?? {};
  if (typeof code !== 'string' || !isCode.test(code) || typeof exitCode !== 'number') return undefined;
  if (typeof retriable !== 'boolean' || typeof said !== 'string') return undefined;
  return { code, exitCode, retriable, message: said, ...(isCount(rank) ? { rank } : {}) };
}

/** `MODEL_NOT_FOUND` and `TerminationByKubelet` as reasons of conditions. */
function camelCase(code: string): string {
  const words = /^[A-Z0-9_]+$/u.test(code) ? code.toLowerCase().split('_') : code.split(/[^A-Za-z0-9]+/u);
  const joined = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join('');
  return /^[A-Za-z]/u.test(joined) ? joined : `Reason${joined}`;
}
