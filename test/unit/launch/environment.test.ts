import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { test } from 'node:test';
import { errorCatalogue, SdxlError } from '../../../runtime/errors/index.js';
import { readEnvironment, terminationLogPath, type Environment } from '../../../runtime/launch/index.js';
import { packageFile } from '../../../runtime/package-root.js';

const gang = { WORLD_SIZE: '4', MASTER_ADDR: '10.0.0.1' };

test('an empty environment means local ranks and documented defaults', () => {
  const environment = readEnvironment({ XDG_CACHE_HOME: '/x' });
  assert.deepEqual(environment, {
    gang: undefined,
    tokenFile: undefined,
    tlsDirectory: undefined,
    localTls: false,
    cacheDirectory: '/x/sdxl-operator',
    cudaLibraryPath: undefined,
    acceleratorRequired: false,
    hubToken: undefined,
    objectStorage: { endpoint: undefined, region: undefined },
    logLevel: 'info',
    logFormat: 'text',
    metricsPort: undefined,
    metricsHost: '127.0.0.1',
    heartbeatTimeoutMs: 20_000,
    gracePeriodMs: 10_000,
    cudaTactics: 48,
    cudaTimingCache: undefined,
  } satisfies Environment);
  assert(Object.isFrozen(environment));
});

const placements: readonly (readonly [Record<string, string>, Environment['gang']])[] = [
  [{ WORLD_SIZE: '1' }, undefined],
  [
    { ...gang, RANK: '2' },
    { firstRank: 2, localRanks: 1, ranksOnHost: 1, worldSize: 4, masterAddress: '10.0.0.1', masterPort: 29_500, listenHost: '0.0.0.0' },
  ],
  [
    { ...gang, RANK: '3', LOCAL_RANK: '1', LOCAL_WORLD_SIZE: '2', MASTER_PORT: '1234', SDXL_LISTEN_ADDR: '::' },
    { firstRank: 3, localRanks: 1, ranksOnHost: 2, worldSize: 4, masterAddress: '10.0.0.1', masterPort: 1234, listenHost: '::' },
  ],
  [
    { ...gang, NODE_RANK: '1', LOCAL_WORLD_SIZE: '2' },
    { firstRank: 2, localRanks: 2, ranksOnHost: 2, worldSize: 4, masterAddress: '10.0.0.1', masterPort: 29_500, listenHost: '0.0.0.0' },
  ],
  [
    { WORLD_SIZE: '2', NODE_RANK: '0', LOCAL_WORLD_SIZE: '2' },
    { firstRank: 0, localRanks: 2, ranksOnHost: 2, worldSize: 2, masterAddress: '127.0.0.1', masterPort: 29_500, listenHost: '127.0.0.1' },
  ],
];
for (const [variables, expected] of placements) {
  test(`${JSON.stringify(variables)} places the launcher`, () => {
    assert.deepEqual(readEnvironment(variables).gang, expected);
  });
}

test('ranks listen where rank 0 is met', () => {
  const listens = (MASTER_ADDR: string): string | undefined => readEnvironment({ ...gang, RANK: '1', MASTER_ADDR }).gang?.listenHost;
  assert.deepEqual(['localhost', '127.0.0.2', '10.0.0.1', 'job_zero.example.', '::1', 'fd00::7', 'fe80::7%eth0'].map(listens), [
    '127.0.0.1',
    '127.0.0.1',
    '0.0.0.0',
    '0.0.0.0',
    '::1',
    '::',
    '::',
  ]);
});

test('the termination log is known whatever else is wrong', () => {
  assert.equal(terminationLogPath({ TERMINATION_LOG: ' /t ', WORLD_SIZE: 'two' }), '/t');
});

const refused: readonly (readonly [Record<string, string>, RegExp])[] = [
  [{ RANK: '0' }, /WORLD_SIZE is not set: .*because RANK is set/u],
  [{ WORLD_SIZE: '2' }, /RANK is not set: it must be 0…1, or NODE_RANK/u],
  [{ WORLD_SIZE: '2', RANK: '2', MASTER_ADDR: 'a' }, /RANK is "2": it must be less than WORLD_SIZE, 2/u],
  [{ WORLD_SIZE: '3', NODE_RANK: '1', LOCAL_WORLD_SIZE: '2', MASTER_ADDR: 'a' }, /NODE_RANK is "1": .*rank 3/u],
  [{ WORLD_SIZE: '2', RANK: '0', LOCAL_RANK: '1', MASTER_ADDR: 'a' }, /LOCAL_RANK is "1": it must be less than LOCAL_WORLD_SIZE, 1/u],
  [{ WORLD_SIZE: '2', RANK: '0' }, /MASTER_ADDR is not set/u],
  [{ ...gang, RANK: '0', MASTER_ADDR: '[::1]' }, /MASTER_ADDR is "\[::1\]": it must be the name or address .*without brackets/u],
  [{ ...gang, RANK: '0', MASTER_ADDR: '10.0.0.1:29500' }, /MASTER_ADDR is "10\.0\.0\.1:29500": .*the port is MASTER_PORT/u],
  [{ ...gang, RANK: '0', MASTER_ADDR: 'http://zero' }, /MASTER_ADDR is "http:\/\/zero"/u],
  [{ ...gang, RANK: '0', MASTER_PORT: '0' }, /MASTER_PORT is "0": it must be an integer from 1 to 65535/u],
  [{ WORLD_SIZE: 'two' }, /WORLD_SIZE is "two"/u],
  [{ SDXL_LOG_LEVEL: 'loud' }, /SDXL_LOG_LEVEL is "loud": it must be one of error, warn, info, debug/u],
  [{ SDXL_METRICS_PORT: '-1' }, /SDXL_METRICS_PORT is "-1"/u],
];
for (const [variables, message] of refused) {
  test(`${JSON.stringify(variables)} is refused`, () => {
    assert.throws(
      () => readEnvironment(variables),
      (error) => error instanceof SdxlError && error.code === 'USAGE' && message.test(error.message),
    );
  });
}

test('docs/cli.md names every variable and every error code with its exit code', async () => {
  const documentation = await readFile(packageFile('docs/cli.md'), 'utf8');
  const source = await readFile(packageFile('runtime/launch/environment.ts'), 'utf8');
  const names = new Set(source.match(/'[A-Z]+(?:_[A-Z]+)*'/gu)?.map((quoted) => quoted.slice(1, -1)));
  names.delete('XDG_CACHE_HOME');
  names.delete('USAGE');
  assert(names.size >= 14);
  for (const name of names) assert(documentation.includes(`\`${name}\``), name);
  for (const [code, exitCode] of Object.entries(errorCatalogue)) {
    const row = documentation.split('\n').find((line) => line.startsWith('|') && line.includes(`\`${code}\``) && /^\| +\d/u.test(line));
    assert.match(row ?? '', new RegExp(`^\\| +${String(code === 'CANCELLED' ? 130 : exitCode)} \\|`, 'u'), code);
  }
});
