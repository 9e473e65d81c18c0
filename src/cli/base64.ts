import { Transform, type TransformCallback } from 'node:stream'
import { SealwaxError } from '../index'

/** Bytes to base64, without line breaks. */
export class Base64Encoder extends Transform {
  #rest: Buffer = Buffer.alloc(0)

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const bytes = Buffer.concat([this.#rest, chunk])
    const whole = bytes.length - (bytes.length % 3)
    this.#rest = bytes.subarray(whole)
    done(null, Buffer.from(bytes.toString('base64', 0, whole)))
  }

  override _flush(done: TransformCallback): void {
    done(null, Buffer.from(this.#rest.toString('base64')))
  }
}

/** Base64, with or without line breaks, to bytes. Anything else is an error. */
export class Base64Decoder extends Transform {
  #rest = ''
  #ended = false

  override _transform(chunk: Buffer, _encoding: BufferEncoding, done: TransformCallback): void {
    const text = this.#rest + chunk.toString('latin1').replace(/[\r\n]+/g, '')
    const whole = text.length - (text.length % 4)
    this.#rest = text.slice(whole)
    this.#decode(text.slice(0, whole), done)
  }

  override _flush(done: TransformCallback): void {
    this.#decode(this.#rest, done)
  }

  #decode(text: string, done: TransformCallback): void {
    const bytes = Buffer.from(text, 'base64')
    // Nothing comes after the padding, and what is decoded encodes to the same text.
    const wrong = (this.#ended && text !== '') || bytes.toString('base64') !== text
    this.#ended ||= text.endsWith('=')
    if (wrong) done(new SealwaxError('ERR_MESSAGE_MALFORMED', 'the input is not base64'))
    else done(null, bytes)
  }
}
