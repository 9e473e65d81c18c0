/** Headers of many encrypted data keys, which nobody has authenticated yet: other events have their turn while they are read. */
import { type HeaderLimits, HeaderParser, type ParsedHeader, parseHeader } from '../format/message-header'
import { CALL_LENGTH, TURN_LENGTH } from '../turns'
import { checkUnchanged } from './encrypt'
import { keysCost, slices, turnBefore } from './slices'

/** How many bytes of a header are read in one turn: there may be a key in each nine of them. */
export const HEADER_SLICE = 32 * 1024
/** As how many bytes of a message one of a header counts. */
const HEADER_COST = TURN_LENGTH / HEADER_SLICE
/** What costs more is read in slices. */
const MANY_KEYS = 8 * CALL_LENGTH

/** Whether the header that a message begins with says that it has many keys. */
export function hasManyKeys(message: Uint8Array): boolean {
  return keysCost(message) > MANY_KEYS
}

/** As `parseHeader`; a promise where the header has many keys. */
export function readHeader(
  message: Uint8Array,
  limits: HeaderLimits,
  signal: AbortSignal | undefined,
): ParsedHeader | Promise<ParsedHeader> {
  return hasManyKeys(message) ? parseInSlices(message, limits, signal) : parseHeader(message, limits)
}

async function parseInSlices(
  message: Uint8Array,
  limits: HeaderLimits,
  signal: AbortSignal | undefined,
): Promise<ParsedHeader> {
  const parser = new HeaderParser(limits)
  await pushInSlices(parser, message, signal)
  if (!parser.header) throw parser.truncated()
  return parser.header
}

/** As the parser's `push`. */
export async function pushInSlices(
  parser: HeaderParser,
  bytes: Uint8Array,
  signal: AbortSignal | undefined,
): Promise<number> {
  const { length } = bytes
  let used = 0
  for (const [start, end] of slices(length, 1, HEADER_SLICE)) {
    const turn = turnBefore((end - start) * HEADER_COST, signal)
    if (turn) await turn
    checkUnchanged(bytes, length, 'ciphertext')
    used += parser.push(bytes.subarray(start, end))
    if (parser.header) break
  }
  return used
}
