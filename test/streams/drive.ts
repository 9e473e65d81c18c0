import { type Duplex, PassThrough } from 'node:stream'

/** Pieces of 1 to `most` bytes, the same for the same seed. */
export function randomPieces(bytes: Uint8Array, most: number, seed: number): Uint8Array[] {
  const pieces: Uint8Array[] = []
  let state = seed
  for (let start = 0; start < bytes.length; ) {
    // Park and Miller's generator.
    state = (state * 48271) % 0x7fffffff
    const length = 1 + (state % most)
    pieces.push(bytes.subarray(start, start + length))
    start += length
  }
  return pieces
}

/** All that a stream makes of these pieces. Each is overwritten as soon as it is taken. */
export async function drive(stream: Duplex, pieces: Iterable<Uint8Array>): Promise<Buffer> {
  const output: Buffer[] = []
  stream.on('data', (piece: Buffer) => output.push(piece))
  const ended = new Promise<void>((resolve, reject) => {
    stream.on('end', resolve)
    stream.on('error', reject)
    stream.on('close', () => reject(new Error('closed before its end')))
  })
  ended.catch(() => {})
  for (const piece of pieces) {
    const chunk = Buffer.from(piece)
    await new Promise((resolve) => stream.write(chunk, resolve))
    chunk.fill(0xee)
    if (stream.destroyed) break
  }
  stream.end()
  await ended
  return Buffer.concat(output)
}

/** The same for streams that do not keep the rules about chunks and errors: chunks stay as they are. */
export async function driveLoosely(stream: Duplex, pieces: Iterable<Uint8Array>): Promise<Buffer> {
  const output: Buffer[] = []
  const collect = stream.pipe(new PassThrough())
  collect.on('data', (piece: Buffer) => output.push(piece))
  const ended = new Promise<void>((resolve, reject) => {
    collect.on('end', resolve)
    stream.on('error', reject)
  })
  for (const piece of pieces) stream.write(Buffer.from(piece))
  stream.end()
  await ended
  return Buffer.concat(output)
}
