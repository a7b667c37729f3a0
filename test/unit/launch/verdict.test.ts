import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SdxlError, type ErrorCode, type ErrorFields } from '../../../runtime/errors/index.js';
import { describeFailure, findCause, rankExited, rankHung, reviveError, type Failure } from '../../../runtime/launch/verdict.js';
import { tick, watchIntervalMs, type Watched } from '../../../runtime/launch/watchdog.js';

const failure = (rank: number, code: ErrorCode, fields: ErrorFields = {}): Failure => ({
  rank,
  error: new SdxlError(code, code, { fields }),
});

const verdicts: readonly (readonly [string, readonly Failure[], number | undefined, ErrorCode | undefined])[] = [
  ['the earliest of its kind', [failure(1, 'ENGINE_RUN_FAILED'), failure(0, 'OUTPUT_UNWRITABLE')], 1, 'ENGINE_RUN_FAILED'],
  ['a death before what a peer says of it', [failure(0, 'PEER_LOST', { rank: 1 }), failure(1, 'RANK_EXITED')], 1, 'RANK_EXITED'],
  ['a hang before an exchange that never completed', [failure(0, 'COLLECTIVE_TIMEOUT'), failure(1, 'RANK_HUNG')], 1, 'RANK_HUNG'],
  ['a refusal before the time-out it led to', [failure(0, 'RENDEZVOUS_TIMEOUT'), failure(1, 'UNAUTHENTICATED')], 1, 'UNAUTHENTICATED'],
  ['a consequence where its cause is elsewhere', [failure(0, 'PEER_LOST', { rank: 3 }), failure(1, 'CANCELLED')], 0, 'PEER_LOST'],
  ['nothing where all obeyed', [failure(0, 'CANCELLED'), failure(1, 'CANCELLED')], undefined, undefined],
];
for (const [name, failures, rank, code] of verdicts) {
  test(`the cause is ${name}`, () => {
    const cause = findCause(failures);
    assert.deepEqual([cause?.rank, cause?.error.code], [rank, code]);
  });
}

test('the last word names the rank it is about, and keeps the exit code', () => {
  const own = describeFailure(failure(2, 'OUTPUT_UNWRITABLE'));
  assert.deepEqual([own.message, own.fields['rank'], own.exitCode], ['rank 2: OUTPUT_UNWRITABLE', 2, 3]);
  const other = describeFailure(failure(0, 'PEER_ABORTED', { rank: 3, causeCode: 'WEIGHTS_INVALID' }));
  assert.deepEqual([other.message, other.fields['rank'], other.exitCode], ['rank 0 reports: PEER_ABORTED', 3, 2]);
  // The rank that refused is not the one at fault.
  assert.equal(describeFailure(failure(1, 'UNAUTHENTICATED', { rank: 0 })).fields['rank'], 1);
});

test('a rank that died without a report is quoted', () => {
  const error = rankExited(1, { code: 134, signal: null }, 'terminate called');
  assert.match(error.message, /ended with code 134 without a report; it last said: terminate called/u);
  assert.match(rankExited(1, { code: null, signal: 'SIGKILL' }, '').message, /ended by SIGKILL.*memory ran out/u);
  assert.match(rankHung(0, 'it has been silent', 20.04).message, /silent for 20\.0 s/u);
  assert.equal(reviveError({ code: 'NEW_CODE' as ErrorCode, message: 'm', fields: {} }).code, 'INTERNAL');
});

const deadlines = { heartbeatMs: 5_000, startMs: 60_000, progressMs: 2_000, closeMs: 30_000 };
const watched = (more: Partial<Watched>): Watched => ({
  rank: 0,
  phase: 'running',
  waitingFor: null,
  at: null,
  silentMs: 0,
  stalledMs: 0,
  ...more,
});

test('of two ranks that stand still, the one that waits for its peer is not at fault', () => {
  const ranks = [watched({ waitingFor: 'halo#3', stalledMs: 1_900 }), watched({ rank: 1, stalledMs: 1_900 })];
  assert.deepEqual(
    tick(ranks, watchIntervalMs, deadlines).map(({ rank, error }) => [rank, error.code]),
    [[1, 'RANK_HUNG']],
  );
});

test('building has its own deadline, silence another', () => {
  assert.deepEqual(tick([watched({ phase: 'building', stalledMs: 50_000 })], watchIntervalMs, deadlines), []);
  assert.equal(tick([watched({ phase: 'building', silentMs: 4_900 })], watchIntervalMs, deadlines).length, 1);
});

test('a rank that is merely slow is told what to raise, and where it stood', () => {
  const stalled = (more: Partial<Watched>): string =>
    tick([watched({ stalledMs: 100_000, ...more })], watchIntervalMs, deadlines)[0]?.error.message ?? '';
  assert.equal(
    stalled({ at: 'image 1, after step 3 of 50' }),
    'it has made no progress while running (image 1, after step 3 of 50) for 100.3 s, and progressDeadlineSeconds is 2: ' +
      'if the rank is merely slow, raise progressDeadlineSeconds, else see what it hangs in',
  );
  assert.match(stalled({ at: 'image 1, denoise', waitingFor: 'halo#3' }), /\(image 1, denoise\), waiting in halo#3, for 100/u);
  assert.match(stalled({ phase: 'building' }), /while building for .* raise rendezvousTimeoutSeconds/u);
  assert.doesNotMatch(stalled({ phase: 'closing' }), /raise/u);
});

test('time in which the launcher itself stood still is not held against a rank', () => {
  assert.deepEqual(tick([watched({})], 3_600_000, deadlines), []);
});
