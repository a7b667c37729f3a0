/** Argo CD's health check, run by the Lua interpreter Argo CD has, with the libraries it opens. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { argoHealthOf } from '../support/argo-health.js';
import { skipWithout } from '../support/tools.js';

interface Condition {
  readonly type: string;
  readonly status: 'True' | 'False' | 'Unknown';
  readonly reason?: string;
  readonly message?: string;
}

const conditions = (states: Readonly<Record<string, boolean>>, message?: string): readonly Condition[] =>
  Object.entries(states).map(([type, holds]) => ({
    type,
    status: holds ? 'True' : 'False',
    reason: `${type}Reason`,
    ...(message === undefined ? {} : { message }),
  }));

interface State {
  readonly status?: unknown;
  readonly generation?: number;
  readonly health: readonly [status: string, message: string];
}

/** Every state of a job's life, in order. */
const states: Readonly<Record<string, State>> = {
  'just applied, without the schema default': { health: ['Progressing', 'The operator has not seen this version yet'] },
  'just applied': { status: { observedGeneration: -1 }, health: ['Progressing', 'The operator has not seen this version yet'] },
  'changed since it was complete': {
    generation: 2,
    status: { observedGeneration: 1, conditions: conditions({ Complete: true }) },
    health: ['Progressing', 'The operator has not seen this version yet'],
  },
  'seen, without conditions': { status: { observedGeneration: 1 }, health: ['Progressing', 'The gang is not ready'] },
  'waiting for its pods': {
    status: { observedGeneration: 1, conditions: conditions({ Reconciling: true, GangReady: false }, '0/2 nodes are available') },
    health: ['Progressing', '0/2 nodes are available'],
  },
  'waiting, no message given': {
    status: { observedGeneration: 1, conditions: conditions({ Reconciling: true, GangReady: false }, '') },
    health: ['Progressing', 'GangReadyReason'],
  },
  running: {
    status: { observedGeneration: 1, conditions: conditions({ Reconciling: true, GangReady: true, Suspended: false }) },
    health: ['Progressing', 'Every pod runs'],
  },
  'running, with progress': {
    status: { observedGeneration: 1, progress: { done: '40%' }, conditions: conditions({ Reconciling: true, GangReady: true }) },
    health: ['Progressing', '40% of the steps are done'],
  },
  restarting: {
    status: { observedGeneration: 1, conditions: conditions({ Reconciling: true, GangReady: false, Restarting: true }, 'rank 1 exited') },
    health: ['Progressing', 'rank 1 exited'],
  },
  suspended: {
    status: { observedGeneration: 2, conditions: conditions({ Suspended: true, GangReady: false }, 'spec.suspend is true') },
    generation: 2,
    health: ['Suspended', 'spec.suspend is true'],
  },
  'succeeded, its pods ending': {
    status: { observedGeneration: 1, conditions: conditions({ SuccessCriteriaMet: true, Reconciling: true, GangReady: true }) },
    health: ['Progressing', 'Every pod runs'],
  },
  'failed, its pods ending': {
    status: { observedGeneration: 1, conditions: conditions({ FailureTarget: true, Reconciling: true, GangReady: false }, 'ending') },
    health: ['Progressing', 'ending'],
  },
  complete: {
    status: { observedGeneration: 1, conditions: conditions({ Complete: true, Reconciling: false, Failed: false }, '1 image') },
    health: ['Healthy', '1 image'],
  },
  failed: {
    status: { observedGeneration: 1, conditions: conditions({ Failed: true, Stalled: true, Complete: false }, 'rank 1: "OOM"\n\\') },
    health: ['Degraded', 'rank 1: "OOM"\n\\'],
  },
  stalled: {
    status: { observedGeneration: 1, conditions: conditions({ Stalled: true }, 'quota') },
    health: ['Degraded', 'quota'],
  },
  'with conditions nobody knows': {
    status: { observedGeneration: 1, conditions: conditions({ 'example.com/Other': true }) },
    health: ['Progressing', 'The gang is not ready'],
  },
};

suite("Argo CD's health of a job", { skip: skipWithout('glua') }, () => {
  for (const [name, { status, generation = 1, health }] of Object.entries(states)) {
    test(`${name}: ${health[0]}`, async () => {
      assert.deepEqual(await argoHealthOf({ metadata: { name: 'cat', generation }, ...(status === undefined ? {} : { status }) }), health);
    });
  }
});
