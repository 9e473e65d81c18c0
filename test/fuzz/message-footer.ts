import { framesLength } from '../../src/format/frame'
import { parseHeader } from '../../src/format/message-header'
import { buildDecrypt } from '../../src/index'
import { vectorKeyring, vectors } from '../support/vectors'
import type { Target } from './fuzzer'

const vector = vectors('valid.json').find(({ description }) => description === 'suite 0578, 70 bytes')!
const message = Buffer.from(vector.message, 'base64')
const header = parseHeader(message)
const start = header.bytes.length + framesLength(70, header.messageHeader.frameLength, true)
const keyring = vectorKeyring(vector.keyring)

/** What follows the last frame of a signed message. */
export const messageFooter: Target = {
  seeds: [message.subarray(start)],
  run: (input) => buildDecrypt().decrypt(keyring, Buffer.concat([message.subarray(0, start), input])),
}
