#!/usr/bin/env node
/** The process `sdxl-operator`: the environment, signals and exits are here and nowhere else. */
import { randomBytes, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { hostname } from 'node:os';
import { setFlagsFromString } from 'node:v8';
import { Operator } from './controller/index.js';
import { connect, ConnectionError } from './kube/index.js';
import { openLog } from './log.js';
import { parseOptions, UsageError, type RunOptions } from './options.js';
import { healthAnswers, metricsAnswers, serve } from './serve.js';

/** What is still open when the work is over may hold the process up no longer than this. */
const lingerMs = 2_000;
/** After a signal: the work in hand and the Lease have this long. */
const endWithinMs = 9_000;
const minKeyBytes = 32;

// Caches of thousands of jobs live long and what a reconcile makes dies young: a heap that grows in small steps costs a little processor time and
// saves a third of the memory (bench/operator-scale). Both are read at each collection, so they may be set here for however Node was started.
setFlagsFromString('--semi-space-growth-factor=1');
setFlagsFromString('--heap-growing-percent=20');

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { readonly version: string };
const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.on(signal, () => {
    if (stop.signal.aborted) process.exit(1);
    setTimeout(() => process.exit(1), endWithinMs).unref();
    stop.abort(new Error(`stopped by ${signal}`));
  });
}

process.exitCode = await main(process.argv.slice(2));
setTimeout(() => process.exit(), lingerMs).unref();

async function main(args: readonly string[]): Promise<number> {
  try {
    const options = parseOptions(args, process.env, version, (text) => process.stdout.write(text));
    if (options === undefined) return 0;
    if (options.command === 'render') {
      const { render } = await import('./render.js');
      process.stdout.write(await render(options));
    } else {
      await run(options);
    }
    return 0;
  } catch (error) {
    const told = error instanceof UsageError || error instanceof ConnectionError;
    process.stderr.write(`${told ? error.message : error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    return told ? 2 : 1;
  }
}

async function run(options: RunOptions): Promise<void> {
  const log = openLog(options.logLevel, options.logFormat, process.stderr);
  const { KUBERNETES_SERVICE_HOST: serviceHost, KUBERNETES_SERVICE_PORT: servicePort } = process.env;
  const connection = await connect({ kubeconfig: options.kubeconfig, serviceHost, servicePort });
  const { runtimeImage, acceleratorImage, concurrency, qps, namespace } = options;
  const operator = new Operator({
    connection,
    namespace,
    election: options.leaderElect
      ? {
          namespace: options.leaderElectionNamespace ?? connection.namespace ?? 'default',
          name: 'sdxl-operator',
          identity: `${hostname()}_${randomUUID()}`,
        }
      : undefined,
    settings: { runtimeImage, acceleratorImage, tokenKey: await tokenKey(options.tokenKeyFile) },
    concurrency,
    qps,
    version,
    log,
  });
  const servers = [];
  try {
    if (options.metrics !== undefined) servers.push(await listen('--metrics-bind-address', options.metrics, metricsAnswers(operator)));
    if (options.health !== undefined) servers.push(await listen('--health-bind-address', options.health, healthAnswers(operator)));
    log.log('info', 'started', {
      version,
      server: connection.server.href,
      namespace: namespace ?? 'all',
      ports: servers.map(({ port }) => port).join(','),
    });
    await operator.run(stop.signal);
    log.log('info', 'ended');
  } finally {
    for (const { close } of servers) close();
  }
}

/** A key made up here serves as well: an attempt's token is made once, and by one process. */
async function tokenKey(file: string | undefined): Promise<Buffer> {
  if (file === undefined) return randomBytes(minKeyBytes);
  const key = await readFile(file).catch((cause: unknown) => {
    throw new UsageError(`--token-key-file ${file} can't be read: ${cause instanceof Error ? cause.message : String(cause)}`);
  });
  if (key.byteLength < minKeyBytes) {
    throw new UsageError(`--token-key-file ${file} has ${String(key.byteLength)} bytes: it must have at least ${String(minKeyBytes)}`);
  }
  return key;
}

async function listen(option: string, ...[address, answers]: Parameters<typeof serve>): ReturnType<typeof serve> {
  try {
    return await serve(address, answers);
  } catch (cause) {
    throw new UsageError(`${option}: ${cause instanceof Error ? cause.message : String(cause)}: give an address that is free`);
  }
}
