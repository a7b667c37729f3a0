/** Captured work: counted, instantiated, launched as a whole. Graphs are destroyed before the communicators they use. */
import { graphEdgeBytes, graphNodeKinds, memsetNodeLayout } from './driver-functions.js';
import type { Driver } from './driver.js';
import type { DevicePointer } from './memory.js';
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
    const counts: Record<string, number> = {};
    const nodes = this.#nodes();
    for (const { kind } of nodes) counts[kind] = (counts[kind] ?? 0) + 1;
    return { ...counts, total: nodes.length };
  }

  /**
   * Takes out the memsets to zero that lie within the region and do not fill it: for libraries that clear a small workspace before
   * each of their kernels. Give every call its own part of the region, clear the region once at the graph's start, and each node
   * saved is a microsecond. What came before a memset then comes before what came after it. Returns how many were taken out.
   */
  removeMemsets(region: { readonly pointer: DevicePointer; readonly sizeBytes: number }): number {
    const found = this.#nodes()
      .filter(({ kind }) => kind === 'memset')
      .map(({ node }) => ({ node, ...this.#memset(node) }))
      .filter(({ destination, sizeBytes, value }) => {
        const offset = destination - region.pointer;
        const isInside = offset >= 0n && offset + BigInt(sizeBytes) <= BigInt(region.sizeBytes);
        return isInside && value === 0 && sizeBytes !== region.sizeBytes;
      });
    // What is cleared more than once must be cleared in between.
    const times = new Map<DevicePointer, number>();
    for (const { destination } of found) times.set(destination, (times.get(destination) ?? 0) + 1);
    const removed = found.filter(({ destination }) => times.get(destination) === 1);
    for (const { node } of removed) this.#bridge(node);
    return removed.length;
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

  #nodes(): readonly { readonly node: bigint; readonly kind: string }[] {
    const count = new BigUint64Array(1);
    this.#driver.call.cuGraphGetNodes(this.handle, null, count);
    const nodes = new BigUint64Array(Number(count[0]));
    if (nodes.length > 0) this.#driver.call.cuGraphGetNodes(this.handle, nodes, count);
    const kind = new Int32Array(1);
    return [...nodes].map((node) => {
      this.#driver.call.cuGraphNodeGetType(node, kind);
      return { node, kind: graphNodeKinds[kind[0] ?? 0] ?? 'other' };
    });
  }

  #memset(node: bigint): { readonly destination: DevicePointer; readonly sizeBytes: number; readonly value: number } {
    const parameters = new DataView(new ArrayBuffer(memsetNodeLayout.sizeBytes));
    this.#driver.call.cuGraphMemsetNodeGetParams(node, parameters);
    const [width, height] = [memsetNodeLayout.width, memsetNodeLayout.height].map((offset) =>
      Number(parameters.getBigUint64(offset, true)),
    );
    return {
      destination: parameters.getBigUint64(memsetNodeLayout.destination, true),
      sizeBytes: (width ?? 0) * (height ?? 0) * parameters.getUint32(memsetNodeLayout.elementSize, true),
      value: parameters.getUint32(memsetNodeLayout.value, true),
    };
  }

  /** Destroys a node; its neighbours keep their order. */
  #bridge(node: bigint): void {
    const { call } = this.#driver;
    const before = this.#neighbours(node, call.cuGraphNodeGetDependencies_v2);
    const after = this.#neighbours(node, call.cuGraphNodeGetDependentNodes_v2);
    for (const from of before) {
      const known = new Set(this.#neighbours(from, call.cuGraphNodeGetDependentNodes_v2));
      for (const to of after) {
        // A second edge between two nodes is an error.
        if (!known.has(to)) {
          call.cuGraphAddDependencies_v2(this.handle, BigUint64Array.of(from), BigUint64Array.of(to), new Uint8Array(graphEdgeBytes), 1);
        }
      }
    }
    call.cuGraphDestroyNode(node);
  }

  #neighbours(
    node: bigint,
    ask: (node: bigint, others: BigUint64Array | null, edges: Uint8Array | null, count: BigUint64Array) => void,
  ): readonly bigint[] {
    const count = new BigUint64Array(1);
    ask(node, null, null, count);
    const others = new BigUint64Array(Number(count[0]));
    if (others.length > 0) ask(node, others, new Uint8Array(others.length * graphEdgeBytes), count);
    return [...others];
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
    if (!this.#open) throw new Error('a graph was launched after it was closed');
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
