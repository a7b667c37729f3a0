/**
 * Some ranks of a gang as a world of their own, numbered from 0 in the order given: what the ranks of one image see while others make
 * other images. Messages go over the gang's own connections, so nothing is opened; and a failure anywhere in the gang is a failure here,
 * named by the rank's number in the gang.
 */
import type { SdxlError } from '../errors/index.js';
import type { Communicator, Exchange, Message } from './communicator.js';

/** Beyond the tags of any plan. */
const barrierTag = 0xffff0002;

export class GroupCommunicator implements Communicator {
  readonly rank: number;
  readonly #gang: Communicator;
  readonly #members: readonly number[];

  /** `members` are ranks of the gang, this one among them; every member gives the same. */
  constructor(gang: Communicator, members: readonly number[]) {
    this.#gang = gang;
    this.#members = members;
    this.rank = members.indexOf(gang.rank);
    if (this.rank < 0) throw new RangeError(`rank ${String(gang.rank)} is not of the group ${members.join(', ')}`);
  }

  get worldSize(): number {
    return this.#members.length;
  }

  get failed(): AbortSignal {
    return this.#gang.failed;
  }

  async exchange({ sends, receives, ...rest }: Exchange, signal?: AbortSignal): Promise<void> {
    const inGang = (message: Message): Message => ({ ...message, peer: this.#member(message.peer) });
    await this.#gang.exchange({ ...rest, sends: sends.map(inGang), receives: receives.map(inGang) }, signal);
  }

  /** Of the group alone. */
  async barrier(signal?: AbortSignal): Promise<void> {
    const messages = this.#members.filter((member) => member !== this.#gang.rank).map((peer) => ({ peer, parts: [] }));
    await this.#gang.exchange({ operation: 'barrier', tag: barrierTag, sends: messages, receives: messages }, signal);
  }

  /** Ends the whole gang: the other groups' images are of the same job. */
  abort(error: SdxlError): Promise<void> {
    return this.#gang.abort(error);
  }

  /** Closes the gang's communicator. */
  close(): Promise<void> {
    return this.#gang.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #member(peer: number): number {
    const member = this.#members[peer];
    if (member === undefined) {
      throw new RangeError(
        `rank ${String(peer)} is not of this group of ${String(this.worldSize)} ranks (${this.#members.join(', ')} of the gang)`,
      );
    }
    return member;
  }
}
