/**
 * The contract of communicator.proto in TypeScript: the messages, kept by hand and compared with the .proto by a test, and
 * the method definitions the client and the server share. Frames bypass the message objects, see frame.ts.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { MethodDefinition } from '@grpc/grpc-js';
import { loadSync, type MessageTypeDefinition, type ServiceDefinition } from '@grpc/proto-loader';
import type { Fingerprint } from '../communicator.js';
import { encodeFrame, type OutgoingFrame } from './frame.js';

export interface Address {
  readonly host: string;
  readonly port: number;
}

/** A message field is null where the sender left it out. */
export interface JoinRequest {
  readonly rank: number;
  readonly worldSize: number;
  readonly address: Address | null;
  readonly instance: string;
  readonly fingerprint: Fingerprint | null;
}

export interface Member {
  readonly rank: number;
  readonly address: Address | null;
}

export interface Roster {
  readonly gang: string;
  readonly members: readonly Member[];
}

export type JoinEvent =
  | { readonly event: 'waiting'; readonly waiting: { readonly missing: readonly number[] } }
  | { readonly event: 'roster'; readonly roster: Roster };

export interface Subscription {
  readonly gang: string;
  readonly rank: number;
}

export interface Failure {
  readonly rank: number;
  readonly code: string;
  readonly message: string;
  readonly fields: string;
  readonly cause: string;
}

type Empty = Readonly<Record<string, never>>;

export type Notice =
  | { readonly notice: 'heartbeat'; readonly heartbeat: Empty }
  | { readonly notice: 'failure'; readonly failure: Failure }
  | { readonly notice: 'goodbye'; readonly goodbye: Empty };

export interface Protocol {
  readonly join: MethodDefinition<JoinRequest, JoinEvent>;
  /** The server writes {@link OutgoingFrame}s; the client reads the frame's bytes and decodes them itself. */
  readonly receive: Omit<MethodDefinition<Subscription, Buffer>, 'responseSerialize'> & {
    readonly responseSerialize: (frame: OutgoingFrame) => Buffer;
  };
  readonly watch: MethodDefinition<Subscription, Notice>;
  readonly failure: { serialize(failure: Failure): Buffer; deserialize(bytes: Buffer): Failure };
}

const packageName = 'sdxl.runtime.v1alpha1';
const fileName = 'communicator.proto';

/** Where communicator.proto lies: beside this module, or in the source tree that the compiled tree mirrors. */
export function protoPath(): string {
  const here = new URL(fileName, import.meta.url);
  if (existsSync(here)) return fileURLToPath(here);
  for (let folder = new URL('./', here); ; folder = new URL('../', folder)) {
    const candidate = new URL(`runtime/collectives/grpc/${fileName}`, folder);
    if (existsSync(candidate)) return fileURLToPath(candidate);
    if (folder.pathname === '/' || new URL('../', folder).href === folder.href) {
      throw new Error(`${fileName} was found neither beside ${import.meta.url} nor above it`);
    }
  }
}

let loaded: Protocol | undefined;

/** Loads the contract; the first call reads the .proto. */
export function protocol(): Protocol {
  loaded ??= load();
  return loaded;
}

function load(): Protocol {
  const definitions = loadSync(protoPath(), { longs: Number, enums: String, defaults: true, oneofs: true });
  const { Join, Receive, Watch } = definitions[`${packageName}.Communicator`] as ServiceDefinition;
  const failure = definitions[`${packageName}.Failure`];
  if (Join === undefined || Receive === undefined || Watch === undefined || failure === undefined) {
    throw new Error(`${protoPath()} lacks a method or message of this protocol`);
  }
  // The one place where message types are asserted; a test compares them with the .proto.
  return {
    join: Join as MethodDefinition<JoinRequest, JoinEvent>,
    receive: {
      ...(Receive as MethodDefinition<Subscription, Buffer>),
      responseSerialize: encodeFrame,
      responseDeserialize: (bytes) => bytes,
    },
    watch: Watch as MethodDefinition<Subscription, Notice>,
    failure: failure as MessageTypeDefinition<Failure, Failure>,
  };
}
