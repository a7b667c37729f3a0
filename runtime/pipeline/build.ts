/** `sdxl build`: engines of every component into the cache, nothing loaded. */
import type { Backend, Component, Engine } from '../engine/index.js';
import type { ModelComponents } from './components.js';

export async function buildEngines(
  components: ModelComponents,
  backend: Backend,
  onEngine: (engine: Engine) => void,
  signal?: AbortSignal,
): Promise<void> {
  const all: readonly Component[] = Object.values(components);
  for (const component of all) onEngine(await backend.prepare(component, signal));
}
