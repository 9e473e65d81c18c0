import { getEngine } from './engine'
import { NativeEngine } from './native'

/** From now on this process leaves no core dump: keys would be in it. Whether the addon is there and the system agrees. */
export function forbidCoreDumps(): boolean {
  const engine = getEngine()
  return engine instanceof NativeEngine && engine.binding.forbidCoreDumps() === 0
}
