import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import protobuf from 'protobufjs';
import { fingerprintFields } from '../../../runtime/collectives/grpc/fingerprint.js';
import { messageKinds } from '../../../runtime/collectives/grpc/frame.js';
import {
  protocol,
  protoPath,
  type Address,
  type Failure,
  type JoinEvent,
  type JoinRequest,
  type Member,
  type Notice,
  type Roster,
  type Subscription,
} from '../../../runtime/collectives/grpc/protocol.js';

const root = protobuf.loadSync(protoPath()).lookup('sdxl.runtime.v1alpha1') as protobuf.Namespace;

/** Field names of each message type, complete: a field added to a type does not compile until it is named here. */
type FieldNames<T> = { readonly [K in keyof T]-?: string };
type Branch<T> = T extends unknown ? Exclude<keyof T, 'event' | 'notice'> : never;

const messages = {
  Address: { host: 'string', port: 'uint32' } satisfies FieldNames<Address>,
  JoinRequest: {
    rank: 'uint32',
    worldSize: 'uint32',
    address: 'Address',
    instance: 'string',
    fingerprint: 'Fingerprint',
  } satisfies FieldNames<JoinRequest>,
  JoinEvent: { waiting: 'Waiting', roster: 'Roster' } satisfies Record<Branch<JoinEvent>, string>,
  Waiting: { missing: 'uint32' },
  Roster: { gang: 'string', members: 'Member' } satisfies FieldNames<Roster>,
  Member: { rank: 'uint32', address: 'Address' } satisfies FieldNames<Member>,
  Subscription: { gang: 'string', rank: 'uint32' } satisfies FieldNames<Subscription>,
  Notice: { heartbeat: 'Heartbeat', failure: 'Failure', goodbye: 'Goodbye' } satisfies Record<Branch<Notice>, string>,
  Heartbeat: {},
  Goodbye: {},
  Failure: { rank: 'uint32', code: 'string', message: 'string', fields: 'string', cause: 'string' } satisfies FieldNames<Failure>,
  Fingerprint: Object.fromEntries(fingerprintFields.map((field) => [field, 'string'])),
} as const;

describe('communicator.proto', () => {
  for (const [name, fields] of Object.entries(messages)) {
    it(`${name} has the fields of its type`, () => {
      const declared = root.lookupType(name).fieldsArray.map((field) => [field.name, field.type]);
      assert.deepEqual(Object.fromEntries(declared), fields);
    });
  }

  it('declares no message that has no type', () => {
    const declared = root.nestedArray.filter((nested) => nested instanceof protobuf.Type).map(({ name }) => name);
    assert.deepEqual(declared.sort(), [...Object.keys(messages), 'Frame'].sort());
  });

  it('MessageKind has the kinds of frames', () => {
    const { values } = root.lookupEnum('MessageKind');
    assert.deepEqual({ ...values }, { EXCHANGE: messageKinds.exchange, BARRIER: messageKinds.barrier });
  });

  it('each call answers with a stream', () => {
    const { join, receive, watch } = protocol();
    assert.deepEqual(
      [join, receive, watch].map(({ path, requestStream, responseStream }) => [path, requestStream, responseStream]),
      ['Join', 'Receive', 'Watch'].map((name) => [`/sdxl.runtime.v1alpha1.Communicator/${name}`, false, true]),
    );
  });

  it('a notice arrives as it was sent', () => {
    const { watch } = protocol();
    const failure: Failure = { rank: 1, code: 'INTERNAL', message: 'm', fields: '{"a":1}', cause: '' };
    for (const notice of [
      { notice: 'heartbeat', heartbeat: {} },
      { notice: 'goodbye', goodbye: {} },
      { notice: 'failure', failure },
    ] satisfies Notice[]) {
      assert.deepEqual(watch.responseDeserialize(watch.responseSerialize(notice)), notice);
    }
  });
});
