/** Those who hold connections to what a process is asked by a cluster, or send requests byte by byte: others are answered meanwhile. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { serve } from '../../operator/serve.js';
import { ObservationServer } from '../../runtime/observe/index.js';

const held = 2_000;
/** More than one for each that may stay, and what the kernel has not yet reported. */
const mayStay = 300;

const servers = {
  "a rank's": async () => {
    const sources = { metrics: () => Promise.resolve('x 1\n'), status: () => assert.fail(), unhealthy: () => undefined };
    const server = await ObservationServer.open({ host: '127.0.0.1', port: 0 }, sources);
    return { port: server.port, close: () => server.close() };
  },
  "the operator's": async () => {
    const server = await serve({ host: '127.0.0.1', port: 0 }, { '/healthz': () => ({ status: 200, type: 'text/plain', body: 'ok\n' }) });
    const close = (): Promise<void> => {
      server.close();
      return Promise.resolve();
    };
    return { port: server.port, close };
  },
} satisfies Readonly<Record<string, () => Promise<{ readonly port: number; readonly close: () => Promise<void> }>>>;

describe('connections that only wait', () => {
  for (const [whose, start] of Object.entries(servers)) {
    it(`keep nobody from ${whose} endpoints, and are closed in time`, { timeout: 60_000 }, async () => {
      const { port, close } = await start();
      const open = new Set<Socket>();
      try {
        for (let at = 0; at < held; at++) {
          const socket = connect({ port, host: '127.0.0.1' });
          open.add(socket);
          socket
            .on('error', () => undefined)
            .on('close', () => open.delete(socket))
            .resume();
          await once(socket, 'connect').catch(() => undefined);
          // Every other one has begun to ask.
          if (at % 2 === 0) socket.write('GET /metrics HTTP/1.1\r\nhost: x\r\nx-slow: ');
        }
        // Sooner than those who wait are shut out for their slowness.
        const answer = await fetch(`http://127.0.0.1:${String(port)}/healthz`, { signal: AbortSignal.timeout(4_000) });
        assert.equal(answer.status, 200);
        assert.ok(open.size < mayStay, `${String(open.size)} are open`);
        const since = performance.now();
        while (open.size > 0 && performance.now() - since < 15_000) await delay(100);
        assert.equal(open.size, 0);
      } finally {
        for (const socket of open) socket.destroy();
        await close();
      }
    });
  }
});
