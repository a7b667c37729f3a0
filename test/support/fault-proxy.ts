/** A TCP proxy between ranks that can be told to hold everything back or to pass it late. */
import { connect, createServer, type Server, type Socket } from 'node:net';

export interface ProxyAddress {
  readonly host: string;
  readonly port: number;
}

export class FaultProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #held = false;
  #delayMs: () => number = () => 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async open(from: ProxyAddress, to: ProxyAddress): Promise<FaultProxy> {
    const server = createServer();
    const proxy = new FaultProxy(server);
    server.on('connection', (near) => {
      const far = connect(to);
      proxy.#join(near, far);
      proxy.#join(far, near);
    });
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(from, resolve);
    });
    return proxy;
  }

  /** From now on nothing gets through in either direction, and nobody is told: a cut network. */
  hold(): void {
    this.#held = true;
    for (const socket of this.#sockets) socket.pause();
  }

  /** Passes each run of bytes after a while. */
  slow(delayMs: () => number): void {
    this.#delayMs = delayMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(from: Socket, to: Socket): void {
    this.#sockets.add(from);
    if (this.#held) from.pause();
    // Order is kept: each run of bytes waits for the one before it.
    let last = Promise.resolve();
    from.on('data', (bytes) => {
      const delayMs = this.#delayMs();
      last = last.then(async () => {
        if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs));
        if (!this.#held && to.writable) to.write(bytes);
      });
    });
    const end = (): void => {
      this.#sockets.delete(from);
      if (!this.#held) void last.then(() => to.destroy());
    };
    from.on('error', end).on('close', end);
  }
}
