import assert from 'node:assert/strict';
import { setTimeout as delay } from 'node:timers/promises';
import { describeCommunicator, hostMemory } from '../../conformance/communicator.js';
import { liveSockets, openGang } from './gang.js';

const before = liveSockets().length;

describeCommunicator('gRPC communicator', {
  ...hostMemory,
  maxWorldSize: 4,
  open: (worldSize, { exchangeMs, observers }) =>
    openGang(worldSize, (options, rank) => {
      const observer = observers?.[rank];
      return {
        ...options,
        timeouts: { ...options.timeouts, ...(exchangeMs === undefined ? {} : { exchangeMs }) },
        ...(observer === undefined ? {} : { observer }),
      };
    }),
  assertReleased: async () => {
    // A closed socket's handle goes a turn of the loop later.
    for (let turn = 0; turn < 50 && liveSockets().length > before; turn++) await delay(20);
    assert.equal(liveSockets().length, before, `still open: ${liveSockets().join()}`);
  },
});
