/**
 * Random changes of good inputs. An input with an outcome that was not seen before (another error, but for the numbers
 * and quoted values in it) is changed further, which leads into a parser almost as coverage would.
 */
import { SealwaxError } from '../../src/errors'
import { seeded } from '../support/random'

export interface Target {
  /** Good inputs, or near to good. */
  readonly seeds: readonly Uint8Array[]
  /** Words of the input's language, which chance would not find. */
  readonly words?: readonly string[]
  /** Takes bytes of a stranger: may refuse them, with an error that `refusal` knows. */
  run(input: Uint8Array): unknown
  /** Whether this error is a refusal. Default: a `SealwaxError` that is not a bug's. */
  refusal?(error: unknown): boolean
}

export interface Bounds {
  readonly seed: number
  readonly cases?: number
  readonly milliseconds?: number
}

/** Runs cases until a bound is reached. Throws with the input, in base64, where one crashes. */
export async function fuzz(target: Target, { seed, cases = Infinity, milliseconds = Infinity }: Bounds) {
  const random = seeded(seed)
  const corpus = [...target.seeds]
  const outcomes = new Set<string>()
  const end = performance.now() + milliseconds
  let count = 0
  for (; count < cases && (count % 64 !== 0 || performance.now() < end); count++) {
    const input = count < target.seeds.length ? corpus[count]! : changed(corpus, target.words ?? [], random)
    const outcome = await outcomeOf(target, Uint8Array.from(input))
    if (outcomes.has(outcome) || outcomes.size === MAX_OUTCOMES) continue
    outcomes.add(outcome)
    corpus.push(input)
  }
  return { count, outcomes: outcomes.size }
}

async function outcomeOf(target: Target, input: Uint8Array): Promise<string> {
  const shown = Buffer.from(input).toString('base64')
  try {
    await target.run(input)
    return 'accepted'
  } catch (error) {
    const refused = target.refusal?.(error) ?? isRefusal(error)
    if (!refused) throw new Error(`${(error as Error).stack}\nof the input ${shown}`)
    return (error as Error).message.replace(/\d+|"[^"]*"/g, '0').slice(0, 80)
  }
}

export function isRefusal(error: unknown): boolean {
  return error instanceof SealwaxError && error.code !== 'ERR_INTERNAL'
}

/** One of the corpus after one to four changes. */
function changed(corpus: readonly Uint8Array[], words: readonly string[], random: () => number): Uint8Array {
  const below = (bound: number) => Math.floor(random() * bound)
  const any = () => corpus[below(corpus.length)]!
  let input = any()
  for (let changes = 1 + below(4); changes > 0; changes--) {
    const at = below(input.length + 1)
    const [before, after] = [input.subarray(0, at), input.subarray(at)]
    const filler = Uint8Array.from({ length: 1 + below(4) }, () => EDGES[below(EDGES.length)] ?? below(256))
    const word = words[below(words.length)]
    const other = any()
    input = [
      () => Buffer.concat([before, filler, after.subarray(filler.length)]),
      () => Buffer.concat([before, Uint8Array.of((after[0] ?? 0) ^ (1 << below(8))), after.subarray(1)]),
      () => Buffer.concat([before, filler, after]),
      () => Buffer.concat([before, after.subarray(1 + below(16))]),
      () => Buffer.concat([before, after.subarray(0, below(32)), after]),
      () => Buffer.concat([before, other.subarray(below(other.length))]),
      () => before,
      () => Buffer.concat([before, Buffer.from(word ?? ''), word === undefined ? after : after.subarray(below(8))]),
    ][below(8)]!()
  }
  return input.subarray(0, MAX_LENGTH)
}

/** Beside any byte: where lengths and counts go wrong. */
const EDGES = [0, 1, 0x7f, 0x80, 0xff, undefined, undefined, undefined]
const MAX_LENGTH = 4096
const MAX_OUTCOMES = 2000
