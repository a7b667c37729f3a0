/** Captured work: counted, instantiated, launched as a whole. Graphs are destroyed before the communicators they use. */
import { graphNodeKinds } from './driver-functions.js';
import type { Driver } from './driver.js';
import type { Stream } from './stream.js';

export class Graph implements Disposable {
  readonly handle: bigint;
  readonly #driver: Driver;
  #open = true;

  constructor(driver: Driver, handle: bigint) {
    this.#driver = driver;
    this.handle = handle;
  }

  /** How many nodes of each kind it has; `total` of all. Nodes of inner graphs are not counted. */
  countNodes(): Readonly<Record<string, number>> & { readonly total: number } {
    const count = new BigUint64Array(1);
    this.#driver.call.cuGraphGetNodes(this.handle, null, count);
    const nodes = new BigUint64Array(Number(count[0]));
    if (nodes.length > 0) this.#driver.call.cuGraphGetNodes(this.handle, nodes, count);
    const counts: Record<string, number> = {};
    const kind = new Int32Array(1);
    for (const node of nodes) {
      this.#driver.call.cuGraphNodeGetType(node, kind);
      const name = graphNodeKinds[kind[0] ?? 0] ?? 'other';
      counts[name] = (counts[name] ?? 0) + 1;
    }
    return { ...counts, total: nodes.length };
  }

  /** The caller owns the result; this graph may be closed after. */
  instantiate(): ExecutableGraph {
    const handle = new BigUint64Array(1);
    this.#driver.call.cuGraphInstantiateWithFlags(handle, this.handle, 0);
    return new ExecutableGraph(this.#driver, handle[0] ?? 0n);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#driver.call.cuGraphDestroy(this.handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export class ExecutableGraph implements Disposable {
  readonly handle: bigint;
  readonly #driver: Driver;
  #open = true;

  constructor(driver: Driver, handle: bigint) {
    this.#driver = driver;
    this.handle = handle;
  }

  launch(stream: Stream): void {
    this.#driver.call.cuGraphLaunch(this.handle, stream.handle);
  }

  /** Sends the graph to the device ahead of its first launch. */
  upload(stream: Stream): void {
    this.#driver.call.cuGraphUpload(this.handle, stream.handle);
  }

  close(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#driver.call.cuGraphExecDestroy(this.handle);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
