import { parseHeader } from '../../src/format/message-header'
import { openPieces } from '../support/pieces'
import { vectorKeyring, vectors } from '../support/vectors'
import type { Target } from './fuzzer'

const messages = vectors('valid.json')
  .filter(({ keyring, options }) => keyring === 'aes-256' && options === undefined)
  .map((vector) => {
    const message = Buffer.from(vector.message, 'base64')
    const { length } = parseHeader(message).bytes
    return { vector, header: message.subarray(0, length), body: message.subarray(length) }
  })
  .filter(({ body }) => body.length < 1000)

/** What follows an authentic header, which the first byte chooses: frames or one block, and a footer. */
export const messageBody: Target = {
  seeds: messages.map(({ body }, i) => Buffer.concat([Uint8Array.of(i), body])),
  async run(input) {
    const { vector, header } = messages[(input[0] ?? 0) % messages.length]!
    await openPieces(vectorKeyring(vector.keyring), [header, input.subarray(1)], vector)
  },
}
