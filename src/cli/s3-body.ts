/** Bodies of objects as they come. */
import { IncomingMessage } from 'node:http'
import { finished, PassThrough, type Readable } from 'node:stream'
import type { S3Client } from '@aws-sdk/client-s3'
import { named } from './s3-errors'

/** The same bytes; where they break off, the error names the object. */
export function namedBody(body: Readable, name: string): Readable {
  // Whoever reads it hears of an error that came before.
  const output = new PassThrough().on('error', () => {}).on('close', () => body.destroy())
  finished(body, (error) => error && output.destroy(named(error, name, 'read')))
  return body.pipe(output)
}

/**
 * To the SDK, a connection that is not read is silent, and ends after its `socketTimeout`. While bytes wait to be read, it is
 * not the store that is silent: that time begins anew.
 */
export function sparePauses(client: S3Client, socketTimeout: number): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args)
      const { body } = result.response as { body?: unknown }
      if (body instanceof IncomingMessage) sparePausesOf(body, socketTimeout)
      return result
    },
    { step: 'deserialize', priority: 'low', name: 'sealwaxPauses' },
  )
}

function sparePausesOf(body: IncomingMessage, socketTimeout: number): void {
  const { socket } = body
  const renew = () => {
    // The SDK sets it some time after the request.
    if (body.readableLength > 0 && socket.timeout) socket.setTimeout(socket.timeout)
  }
  const timer = setInterval(renew, socketTimeout / 4).unref()
  body.once('close', () => clearInterval(timer))
}
