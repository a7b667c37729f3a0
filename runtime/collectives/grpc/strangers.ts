/**
 * Connections whose far end has not shown the token yet. Together they can take no more than a fixed amount of sockets, memory and time,
 * and whoever holds many of them keeps nobody else away. Knows no gRPC.
 */
import type { Socket } from 'node:net';

/** How long a connection may stay without a call that carries the token. */
const strangerMs = 10_000;
/** At once. Each has a session of HTTP/2, and with certificates one of TLS. */
export const maxStrangers = 128;
/** Calls of one connection that may be refused and hear of it: a member with another token makes one. */
const maxRefusals = 3;

interface Stranger {
  readonly socket: Socket;
  readonly address: string;
  readonly timer: NodeJS.Timeout;
  refusals: number;
}

export class Strangers {
  /** By what gRPC calls the peer; the oldest first. */
  readonly #strangers = new Map<string, Stranger>();

  /** Where there are too many, one gives way: the oldest of the address that has the most. */
  add(socket: Socket): void {
    const address = socket.remoteAddress;
    if (address === undefined) {
      socket.destroy();
      return;
    }
    const name = `${address}:${String(socket.remotePort ?? 0)}`;
    const timer = setTimeout(() => {
      this.#close(name);
    }, strangerMs);
    this.#strangers.set(name, { socket, address, timer, refusals: 0 });
    socket.once('close', () => {
      this.#forget(name);
    });
    if (this.#strangers.size > maxStrangers) this.#close(this.#oldestOfMost());
  }

  /** The peer has shown the token. */
  admit(name: string): void {
    this.#forget(name);
  }

  /** A call of the peer's was refused. */
  refuse(name: string): void {
    const stranger = this.#strangers.get(name);
    if (stranger !== undefined && ++stranger.refusals > maxRefusals) this.#close(name);
  }

  clear(): void {
    for (const { timer } of this.#strangers.values()) clearTimeout(timer);
    this.#strangers.clear();
  }

  #oldestOfMost(): string {
    const byAddress = new Map<string, string[]>();
    for (const [name, { address }] of this.#strangers) {
      const names = byAddress.get(address);
      if (names === undefined) byAddress.set(address, [name]);
      else names.push(name);
    }
    const [[oldest = ''] = []] = [...byAddress.values()].sort((a, b) => b.length - a.length);
    return oldest;
  }

  #close(name: string): void {
    const stranger = this.#strangers.get(name);
    this.#forget(name);
    stranger?.socket.destroy();
  }

  #forget(name: string): void {
    clearTimeout(this.#strangers.get(name)?.timer);
    this.#strangers.delete(name);
  }
}
