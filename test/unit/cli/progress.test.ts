/** The progress bar on terminals of any width: how far the job is shows, whatever else has room. */
import assert from 'node:assert/strict';
import { WriteStream } from 'node:tty';
import { test } from 'node:test';
import { Writable } from 'node:stream';
import { openProgress } from '../../../runtime/cli/progress.js';

/** What a terminal of so many columns, which wraps nothing, shows of each line that is drawn. */
function drawn(columns: number): string[] {
  let text = '';
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      text += chunk.toString();
      done();
    },
  });
  // A terminal's functions without a terminal: there may be none where tests run.
  const methods = { clearLine: WriteStream.prototype.clearLine, cursorTo: WriteStream.prototype.cursorTo };
  const stream = Object.assign(sink, methods, { isTTY: true, columns }) as unknown as NodeJS.WriteStream;
  const progress = openProgress({ rank: 0, steps: [60, 60], loads: true, stream });
  progress.message(0, { type: 'phase', phase: 'running' });
  progress.message(0, { type: 'event', event: { type: 'stage-started', image: 0, stage: 'denoise' } });
  const step = { exchangeSeconds: 0, exchanges: 0, sentBytes: 0, seconds: 1 };
  progress.message(0, { type: 'event', event: { type: 'step', image: 0, step: 31, steps: 60, ...step } });
  progress.close();
  // eslint-disable-next-line no-control-regex -- a terminal's commands
  const plain = text.split(/\u001B\[1G/u).map((line) => line.replace(/\u001B\[?[0-9;?]*[A-Za-z78]/gu, ''));
  return plain.map((line) => line.slice(0, columns || 80)).filter((line) => line.includes('denoise'));
}

for (const columns of [0, 48, 60, 80, 200]) {
  test(`a terminal of ${String(columns)} columns shows how far the job is`, () => {
    const lines = drawn(columns);
    assert.ok(lines.length > 0);
    assert.match(lines.at(-1) ?? '', /image 1\/2 denoise +\[[=-]+\] 31\/120 steps/u);
  });
}
