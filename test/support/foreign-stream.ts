import { EventEmitter } from 'node:events'

/**
 * A stream as readable-stream 3 makes them: not of Node.js, and when it is destroyed, its iteration ends as if all had come. It
 * destroys itself before `lostAt`.
 */
export class ForeignStream extends EventEmitter {
  destroyed = false

  constructor(
    readonly pieces: readonly string[],
    readonly lostAt = Infinity,
  ) {
    super()
  }

  destroy(error?: Error): this {
    if (this.destroyed) return this
    this.destroyed = true
    process.nextTick(() => {
      if (error) this.emit('error', error)
      this.emit('close')
    })
    return this
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string> {
    for (const [i, piece] of this.pieces.entries()) {
      await new Promise(setImmediate)
      if (i === this.lostAt) this.destroy()
      if (this.destroyed) return
      yield piece
    }
    this.emit('end')
    this.destroy()
  }
}
