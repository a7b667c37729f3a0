import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseOptions, UsageError } from '../../../operator/options.js';

const parse = (args: readonly string[], variables: Readonly<Record<string, string>> = {}): ReturnType<typeof parseOptions> =>
  parseOptions(args, variables, '1.2.3', () => undefined);

test('without options it reconciles every namespace', () => {
  assert.deepEqual(parse([]), {
    command: 'run',
    namespace: undefined,
    leaderElect: false,
    leaderElectionNamespace: undefined,
    metrics: { host: undefined, port: 8080 },
    health: { host: undefined, port: 8081 },
    runtimeImage: 'ghcr.io/sdxl-operator/runtime-cpu:1.2.3',
    acceleratorImage: 'ghcr.io/sdxl-operator/runtime-cuda:1.2.3',
    tokenKeyFile: undefined,
    concurrency: 8,
    qps: 50,
    logLevel: 'info',
    logFormat: 'json',
    kubeconfig: undefined,
  });
});

test('an option comes before its variable', () => {
  const variables = {
    SDXL_NAMESPACE: 'a',
    SDXL_LEADER_ELECT: 'true',
    POD_NAMESPACE: 'system',
    SDXL_METRICS_ADDRESS: '127.0.0.1:9',
    SDXL_QPS: '7',
  };
  const options = parse(['--namespace', 'b', '--health-bind-address', '0', '--metrics-bind-address', '[::1]:1'], variables);
  assert.ok(options?.command === 'run');
  assert.deepEqual([options.namespace, options.leaderElect, options.leaderElectionNamespace, options.qps], ['b', true, 'system', 7]);
  assert.deepEqual([options.metrics, options.health], [{ host: '::1', port: 1 }, undefined]);
});

test('what is not understood is refused with what is allowed', () => {
  const cases: readonly (readonly [args: readonly string[], says: RegExp])[] = [
    [['--frobnicate'], /unknown option '--frobnicate'/u],
    [['--qps', 'many'], /--qps is "many": it must be an integer from 1 to 10000/u],
    [['--concurrency', '0'], /--concurrency is "0"/u],
    [['--metrics-bind-address', '8080'], /it must be HOST:PORT, :PORT or 0/u],
    [['--log-level', 'loud'], /Allowed choices are error, warn, info, debug/u],
    [['--log-level', 'loud'], /; see sdxl-operator run --help$/u],
    [['--namespace', 'A_b'], /--namespace is "A_b": it must be the name of a namespace/u],
    [['--leader-election-namespace', ''], /--leader-election-namespace is "": /u],
    [['render'], /required option '-f, --file <file>' not specified/u],
    [['frobnicate'], /too many arguments/u],
  ];
  for (const [args, says] of cases) {
    assert.throws(
      () => parse(args),
      (error) => error instanceof UsageError && says.test(error.message),
      args.join(' '),
    );
  }
});

test('a variable that is not understood is refused too', () => {
  for (const [name, value, allowed] of [
    ['SDXL_LEADER_ELECT', 'on', 'true, false'],
    ['SDXL_LOG_LEVEL', 'loud', 'error, warn, info, debug'],
    ['SDXL_LOG_FORMAT', 'xml', 'json, text'],
  ] as const) {
    assert.throws(
      () => parse([], { [name]: value }),
      (error) => error instanceof UsageError && error.message.endsWith(`${name} is "${value}": it must be one of ${allowed}`),
    );
  }
  assert.throws(() => parse([], { SDXL_NAMESPACE: 'A' }), UsageError);
});

test('help and version are shown, and nothing is run', () => {
  const said: string[] = [];
  assert.equal(
    parseOptions(['--version'], {}, '1.2.3', (text) => said.push(text)),
    undefined,
  );
  assert.equal(
    parseOptions(['run', '--help'], {}, '1.2.3', (text) => said.push(text)),
    undefined,
  );
  assert.match(said.join(''), /1\.2\.3[\s\S]*--leader-elect/u);
  said.length = 0;
  parseOptions(['--help'], {}, '1.2.3', (text) => said.push(text));
  assert.match(said.join(''), /takes the options of run: sdxl-operator run --help\n$/u);
});
