import { getEngine } from './engine'
import { NativeEngine } from './native'

/**
 * From now on this process, and those it starts, leave no core dump: keys in use would be in it. False where the addon is not in
 * use or the system refuses; on Windows always. Nothing takes it back.
 *
 * @example
 * if (!forbidCoreDumps()) console.warn('a crash may leave keys on the disk')
 */
export function forbidCoreDumps(): boolean {
  const engine = getEngine()
  return engine instanceof NativeEngine && engine.binding.forbidCoreDumps() === 0
}
