import assert from 'node:assert/strict';
import { PassThrough } from 'node:stream';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { openLog } from '../../../operator/log.js';

const hostile = 'a\nb\u001b[31mc\u009b2Jd\u202ee';

async function written(style: 'json' | 'text'): Promise<string> {
  const stream = new PassThrough();
  openLog('info', style, stream).log('warn', hostile, { job: hostile });
  await setImmediate();
  return String(stream.read());
}

test('what others have written begins no line of the log and commands no terminal', async () => {
  const text = await written('text');
  assert.match(text, /^\S+ warn {2}a\\u000ab\\u001b\[31mc\\u009b2Jd\\u202ee job="a\\nb/u);
  assert.equal(text.split('\n').length, 2);
  assert.ok(!text.includes('\u001b') && !text.includes('\u009b') && !text.includes('\u202e'));
  const json = JSON.parse(await written('json')) as { readonly message?: unknown; readonly job?: unknown };
  assert.deepEqual([json.message, json.job], [hostile, hostile]);
});
