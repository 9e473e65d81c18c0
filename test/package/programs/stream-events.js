// Streams by their events, in flowing mode.
const { once } = require('node:events')
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { report } = require('./lib/report')

const { encryptStream, decryptStream } = buildClient()

async function run(stream, input) {
  const events = []
  const chunks = []
  let header
  stream
    .on('MessageHeader', (messageHeader) => {
      events.push('MessageHeader')
      header = messageHeader
    })
    .on('data', (chunk) => {
      if (events.at(-1) !== 'data') events.push('data')
      if (!Buffer.isBuffer(chunk)) throw new Error('chunks are Buffers')
      chunks.push(chunk)
    })
    .on('end', () => events.push('end'))
  const end = once(stream, 'end')
  for (let i = 0; i < input.length; i += 1000) stream.write(input.subarray(i, i + 1000))
  stream.end()
  await end
  return { events, header, output: Buffer.concat(chunks) }
}

report(async () => {
  const sealed = await run(encryptStream(aesKeyring(), { encryptionContext: { a: 'b' } }), Buffer.alloc(10_000, 'x'))
  const opened = await run(decryptStream(aesKeyring()), sealed.output)
  return {
    sealed: [sealed.events, sealed.output.length > 10_000, sealed.header.encryptionContext.a],
    opened: [opened.events, opened.output.equals(Buffer.alloc(10_000, 'x')), opened.header.encryptionContext.a],
    sameMessage: Buffer.from(sealed.header.messageId).equals(Buffer.from(opened.header.messageId)),
  }
})
