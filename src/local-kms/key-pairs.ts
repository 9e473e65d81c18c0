/**
 * Key pairs take seconds of a thread, and are made a few at a time: more would keep Node's threads from everything else, the
 * store among it. Those of requests that nobody waits for any more are not made.
 */
import {
  createPrivateKey,
  type ECKeyPairOptions,
  generateKeyPair,
  type KeyObject,
  type RSAKeyPairOptions,
} from 'node:crypto'
import { promisify } from 'node:util'
import { wipe } from '../bytes'
import { abandoned, KmsError } from './errors'

const AT_ONCE = 2
const MAX_WAITING = 64

const AS_DER = {
  publicKeyEncoding: { type: 'spki', format: 'der' },
  privateKeyEncoding: { type: 'pkcs8', format: 'der' },
} as const

const generate = promisify(generateKeyPair)
const waiting = new Set<() => void>()
let running = 0

export function ecKey(namedCurve: string, signal: AbortSignal): Promise<KeyObject> {
  return inTurn(
    async () => toKey(await generate('ec', { namedCurve, ...AS_DER } as ECKeyPairOptions<'der', 'der'>)),
    signal,
  )
}

export function rsaKey(modulusLength: number, signal: AbortSignal): Promise<KeyObject> {
  return inTurn(
    async () => toKey(await generate('rsa', { modulusLength, ...AS_DER } as RSAKeyPairOptions<'der', 'der'>)),
    signal,
  )
}

/** Made as bytes: where its thread is being terminated, Node.js ends the process as it makes objects of fresh keys. */
function toKey({ privateKey: key }: { privateKey: Buffer }): KeyObject {
  try {
    return createPrivateKey({ key, ...AS_DER.privateKeyEncoding })
  } finally {
    wipe(key)
  }
}

async function inTurn<T>(work: () => Promise<T>, signal: AbortSignal): Promise<T> {
  if (running === AT_ONCE) await turn(signal)
  else running++
  try {
    return await work()
  } finally {
    // Whoever is next takes this one's place.
    const [next] = waiting
    if (next) next()
    else running--
  }
}

function turn(signal: AbortSignal): Promise<void> {
  if (waiting.size === MAX_WAITING) throw new KmsError('ThrottlingException', 'Too many keys are being made.')
  return new Promise((resolve, reject) => {
    const begin = () => {
      waiting.delete(begin)
      resolve()
    }
    const giveUp = () => {
      waiting.delete(begin)
      reject(abandoned())
    }
    waiting.add(begin)
    signal.addEventListener('abort', giveUp)
    if (signal.aborted) giveUp()
  })
}
