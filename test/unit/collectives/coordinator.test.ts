import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { Coordinator, type Applicant } from '../../../runtime/collectives/grpc/coordinator.js';
import { compareFingerprints } from '../../../runtime/collectives/grpc/fingerprint.js';
import type { Roster } from '../../../runtime/collectives/grpc/protocol.js';
import type { Fingerprint } from '../../../runtime/collectives/index.js';
import type { SdxlError } from '../../../runtime/errors/index.js';
import { fingerprint } from './gang.js';

/** An applicant that remembers what it was told. */
class Seat implements Applicant {
  readonly rank: number;
  readonly worldSize: number;
  readonly instance: string;
  readonly address;
  readonly fingerprint: Fingerprint;
  missing: readonly number[] | undefined;
  roster: Roster | undefined;
  refusal: SdxlError | undefined;

  constructor(rank: number, worldSize: number, options: { instance?: string; fingerprint?: Partial<Fingerprint> } = {}) {
    this.rank = rank;
    this.worldSize = worldSize;
    this.instance = options.instance ?? `process ${String(rank)}`;
    this.address = { host: `10.0.0.${String(rank)}`, port: 7000 };
    this.fingerprint = { ...fingerprint, ...options.fingerprint };
  }

  waiting(missing: readonly number[]): void {
    this.missing = missing;
  }

  accept(roster: Roster): void {
    assert.equal(this.roster ?? this.refusal, undefined, 'answered twice');
    this.roster = roster;
  }

  refuse(error: SdxlError): void {
    assert.equal(this.roster ?? this.refusal, undefined, 'answered twice');
    this.refusal = error;
  }
}

function admit(coordinator: Coordinator, ...seats: Seat[]): Seat[] {
  for (const seat of seats) coordinator.admit(seat);
  return seats;
}

describe('coordinator', () => {
  it('tells who is missing, then gives every rank the same roster, in order of rank', () => {
    const coordinator = new Coordinator(3);
    const [two, zero] = admit(coordinator, new Seat(2, 3), new Seat(0, 3));
    assert.deepEqual([two?.missing, zero?.missing], [[1], [1]]);
    const [one] = admit(coordinator, new Seat(1, 3));
    assert.deepEqual(
      one?.roster?.members.map(({ rank, address }) => [rank, address?.host]),
      [0, 1, 2].map((rank) => [rank, `10.0.0.${String(rank)}`]),
    );
    assert.ok([zero, two].every((seat) => seat?.roster === one.roster));
  });

  it('names every formation of a gang anew', () => {
    const rosters = [new Coordinator(1), new Coordinator(1)].map((coordinator) => admit(coordinator, new Seat(0, 1))[0]?.roster);
    assert.notEqual(rosters[0]?.gang, rosters[1]?.gang);
  });

  for (const [name, foreign, field, pattern] of [
    ['another world size', new Seat(1, 4), 'worldSize', /rank 1 was started for 4 ranks, this gang has 2/u],
    ['a rank out of range', new Seat(2, 2), 'rank', /rank 2 is not a rank of this gang: 0…1 are/u],
    ['a second process of a rank', new Seat(0, 2, { instance: 'other' }), 'rank', /rank 0 has already joined from 10\.0\.0\.0:7000/u],
  ] as const) {
    it(`refuses ${name} without disturbing the gang`, () => {
      const coordinator = new Coordinator(2);
      const [zero] = admit(coordinator, new Seat(0, 2), foreign);
      assert.equal(foreign.refusal?.code, 'RENDEZVOUS_MISMATCH');
      assert.equal(foreign.refusal.fields['field'], field);
      assert.match(foreign.refusal.message, pattern);
      admit(coordinator, new Seat(1, 2));
      assert.ok(zero?.roster);
    });
  }

  it('lets a process ask again, and the one that went before come back', () => {
    const coordinator = new Coordinator(2);
    const [first] = admit(coordinator, new Seat(1, 2));
    const [again] = admit(coordinator, new Seat(1, 2));
    if (first) coordinator.withdraw(first);
    assert.deepEqual(coordinator.missing, [0], 'the old call of the same process frees nothing');
    if (again) coordinator.withdraw(again);
    assert.deepEqual(coordinator.missing, [0, 1]);
    const [other] = admit(coordinator, new Seat(1, 2, { instance: 'restarted' }));
    admit(coordinator, new Seat(0, 2));
    assert.ok(other?.roster);
    assert.equal(first?.roster, undefined);
  });

  it('refuses whoever comes after the gang has formed, as something to retry', () => {
    const coordinator = new Coordinator(2);
    admit(coordinator, new Seat(0, 2), new Seat(1, 2));
    const [late] = admit(coordinator, new Seat(1, 2, { instance: 'restarted' }));
    assert.deepEqual([late?.refusal?.code, late?.refusal?.retriable], ['RENDEZVOUS_REFUSED', true]);
  });

  it('names the missing ranks at the deadline, and who was turned away', () => {
    const coordinator = new Coordinator(4);
    const [zero, , three] = admit(coordinator, new Seat(0, 4), new Seat(1, 2), new Seat(3, 4));
    coordinator.noteRefusal("a call from 10.9.9.9:1 without the job's token");
    coordinator.expire(5000);
    for (const seat of [zero, three]) {
      assert.equal(seat?.refusal?.code, 'RENDEZVOUS_TIMEOUT');
      assert.deepEqual(seat.refusal.fields['ranks'], [1, 2]);
      assert.match(seat.refusal.message, /ranks 1 and 2 did not join within 5000 ms.*started for 2 ranks.*10\.9\.9\.9/u);
    }
  });

  it('refuses every rank when one differs, and names it', () => {
    const coordinator = new Coordinator(3);
    const seats = admit(coordinator, new Seat(0, 3), new Seat(1, 3, { fingerprint: { dtype: 'f16' } }), new Seat(2, 3));
    for (const { refusal } of seats) {
      assert.equal(refusal?.code, 'RENDEZVOUS_MISMATCH');
      const { field, rank, value, expected } = refusal.fields;
      assert.deepEqual({ field, rank, value, expected }, { field: 'dtype', rank: 1, value: 'f16', expected: 'f32' });
    }
  });

  it('prefers a difference it knows of to a timeout', () => {
    const coordinator = new Coordinator(3);
    const [zero] = admit(coordinator, new Seat(0, 3), new Seat(1, 3, { fingerprint: { plan: 'other' } }));
    coordinator.expire(5000);
    assert.equal(zero?.refusal?.code, 'RENDEZVOUS_MISMATCH');
  });
});

describe('compareFingerprints', () => {
  const compare = (...changes: Partial<Fingerprint>[]): SdxlError | undefined =>
    compareFingerprints(new Map(changes.map((change, rank) => [rank, { ...fingerprint, ...change }])));

  it('finds nothing where all say the same', () => {
    assert.equal(compare({}, {}, {}), undefined);
  });

  it('the majority is right, whoever it is', () => {
    const error = compare({ modelDigest: 'b' }, { modelDigest: 'a' }, { modelDigest: 'a' });
    assert.deepEqual([error?.fields['rank'], error?.fields['value'], error?.fields['expected']], [0, 'b', 'a']);
    assert.match(error?.message ?? '', /the ranks differ in modelDigest: rank 0 has "b", ranks 1 and 2 have "a"/u);
  });

  it('in a tie the side of the lowest rank is right', () => {
    const error = compare({ mesh: 'x' }, { mesh: 'y' });
    assert.deepEqual([error?.fields['ranks'], error?.fields['value'], error?.fields['expected']], [[1], 'y', 'x']);
  });

  it('names all odd ranks, and the first field that differs', () => {
    const error = compare({}, { version: 'x', job: 'j' }, { version: 'y' }, {}, {});
    assert.deepEqual([error?.fields['field'], error?.fields['ranks']], ['version', [1, 2]]);
  });
});
