/**
 * Stands for the runtime where only the operator is of interest: a process that is ready, runs and ends as its environment says, at once and without
 * a tensor. With MUTE=yes it says nothing of its progress. It also ends, as if its time were over, when a test tells it to by SIGUSR2. `build` and `fetch` are init containers.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

function seconds(name: string, otherwise: number): number {
  return Number(process.env[name] ?? otherwise);
}

process.on('SIGTERM', () => process.exit(143));
const told = once(process, 'SIGUSR2');
const { SDXL_METRICS_HOST: host, SDXL_METRICS_PORT: port, LAST_WORDS: lastWords } = process.env;

if (process.argv[2] !== 'run') {
  await delay(seconds('BUILD_SECONDS', 0) * 1000);
} else {
  let step = 0;
  const server = createServer((request, response) => {
    if (request.url === '/status' && process.env['MUTE'] === 'yes') {
      request.destroy();
      return;
    }
    step += 1;
    const status = { phase: 'running', imagesDone: 0, progressRatio: 0.5, ranks: [{ phase: 'running', step }] };
    response.end(request.url === '/status' ? JSON.stringify(status) : 'ok');
  });
  await delay(seconds('START_SECONDS', 0) * 1000);
  server.listen(Number(port), host);
  await Promise.race([told, delay(seconds('RUN_SECONDS', 0) * 1000)]);
  if (lastWords !== undefined) writeFileSync('/dev/termination-log', lastWords);
  process.exit(seconds('EXIT_CODE', 0));
}
