/** Bodies of objects as they come. */
import { finished, PassThrough, type Readable } from 'node:stream'
import { named } from './s3-errors'

/** The same bytes; where they break off, the error names the object. */
export function namedBody(body: Readable, name: string): Readable {
  // Whoever reads it hears of an error that came before.
  const output = new PassThrough().on('error', () => {}).on('close', () => body.destroy())
  finished(body, (error) => error && output.destroy(named(error, name, 'read')))
  return body.pipe(output)
}
