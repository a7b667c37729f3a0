import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { asPeerError, fromFailure, toFailure } from '../../../runtime/collectives/grpc/failure.js';
import { ExitCode, SdxlError, type ErrorCode } from '../../../runtime/errors/index.js';

describe('a failure on the wire', () => {
  it('is revived as it was', () => {
    const error = new SdxlError('WEIGHTS_INVALID', 'unet.safetensors is cut off', {
      fields: { file: 'unet.safetensors', expected: 10, ranks: [1, 2], fatal: true },
      cause: new Error('short read'),
    });
    const { code, message, fields, cause } = fromFailure(toFailure(1, error));
    assert.deepEqual(
      { code, message, fields, cause },
      { code: error.code, message: error.message, fields: error.fields, cause: 'short read' },
    );
  });

  it('of an unknown code or with damaged fields is still one', () => {
    const { code, message, fields } = fromFailure({ rank: 1, code: 'NEW', message: 'm', fields: '{"a":', cause: '' });
    assert.deepEqual({ code, message, fields }, { code: 'INTERNAL', message: 'm', fields: {} });
  });

  for (const [cause, exitCode] of [
    ['JOB_INVALID', ExitCode.invalidInput],
    ['OUTPUT_UNWRITABLE', ExitCode.environment],
    ['IMAGE_NOT_FINITE', ExitCode.badResult],
    ['INTERNAL', ExitCode.internal],
    ['COLLECTIVE_TIMEOUT', ExitCode.retriable],
    ['CANCELLED', ExitCode.retriable],
  ] satisfies [ErrorCode, ExitCode][]) {
    it(`${cause} on one rank ends the others with exit code ${String(exitCode)}, also once they have crossed a process`, () => {
      const error = asPeerError(toFailure(3, new SdxlError(cause, 'why')), 1);
      assert.deepEqual([error.code, error.fields['rank'], error.fields['causeCode']], ['PEER_ABORTED', 3, cause]);
      assert.equal(error.exitCode, exitCode);
      assert.equal(SdxlError.fromJSON(error.toJSON()).exitCode, exitCode);
    });
  }

  it('tells whom the cause blames', () => {
    const timeout = new SdxlError('COLLECTIVE_TIMEOUT', 'rank 1 did not deliver', { fields: { rank: 1 } });
    const { rank, causeRank, retriable } = asPeerError(toFailure(0, timeout), 0).fields;
    assert.deepEqual([rank, causeRank, retriable], [0, 1, true]);
  });

  it('of a lost peer stays that, and says who reports it', () => {
    const lost = new SdxlError('PEER_LOST', 'rank 2 is lost', { fields: { rank: 2 } });
    const error = asPeerError(toFailure(2, lost), 1);
    assert.deepEqual([error.code, error.fields['rank'], error.fields['reportedBy']], ['PEER_LOST', 2, 1]);
    assert.match(error.message, /rank 2 is lost, as rank 1 reports/u);
  });
});
