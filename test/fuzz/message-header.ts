import * as assert from 'uvu/assert'
import { HeaderParser, parseHeader, serializeHeaderBody } from '../../src/format/message-header'
import { cutAt } from '../support/pieces'
import { vectors } from '../support/vectors'
import type { Target } from './fuzzer'

/** Headers of both versions, whole and in pieces. */
export const messageHeader: Target = {
  seeds: vectors('valid.json', 'header.json').map(({ message }) => Buffer.from(message, 'base64').subarray(0, 600)),
  run(input) {
    const whole = parseHeader(input)
    const body = serializeHeaderBody(whole.messageHeader)
    // The order of pairs is not checked, and is lost; so is that none of them took two bytes.
    const pairs = Object.keys(whole.messageHeader.encryptionContext).length
    if (pairs > 0) assert.is(body.length, whole.body.length)

    const parser = new HeaderParser()
    let used = 0
    for (const piece of cutAt(input, [1, 22, 37, 41, 100])) used += parser.header ? 0 : parser.push(piece)
    assert.is(used, whole.bytes.length)
  },
}
