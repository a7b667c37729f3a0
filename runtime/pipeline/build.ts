/** `sdxl build`: engines of every component into the cache, nothing loaded. */
import type { Backend, Engine } from '../engine/index.js';
import { componentList, type ModelComponents } from './components.js';

export async function buildEngines(
  components: ModelComponents,
  backend: Backend,
  onEngine: (engine: Engine) => void,
  signal?: AbortSignal,
): Promise<void> {
  for (const component of componentList(components)) onEngine(await backend.prepare(component, signal));
}
