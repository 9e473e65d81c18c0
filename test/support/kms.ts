import { randomBytes, randomUUID } from 'node:crypto'
import type { KmsClient } from '../../src/index'

export const ACCOUNT = '111122223333'
export const OTHER_ACCOUNT = '444455556666'

/** A key ARN; an ID that starts with `mrk-` is of a multi-Region key. */
export function keyArn(id: string, region = 'us-east-1', account = ACCOUNT): string {
  return `arn:aws:kms:${region}:${account}:key/${id}`
}

type Operation = 'generateDataKey' | 'encrypt' | 'decrypt'

interface Input {
  KeyId: string
  EncryptionContext: Record<string, string>
  GrantTokens?: string[]
  NumberOfBytes?: number
  Plaintext?: Uint8Array
  CiphertextBlob?: Uint8Array
}

export interface Answer {
  KeyId?: unknown
  Plaintext?: unknown
  CiphertextBlob?: unknown
}

export interface Call {
  readonly region: string
  readonly operation: Operation
  readonly input: Input
  readonly signal: AbortSignal | undefined
}

/**
 * All Regions of a KMS in memory. A ciphertext is its plaintext in clear with what it is bound to, which is all that
 * keyrings can tell; every key of any account exists.
 */
export class FakeKms {
  readonly calls: Call[] = []
  /** The very arrays that were handed out and in as plaintext, and what was in them. */
  readonly handedOut: { readonly array: Uint8Array; readonly hex: string }[] = []
  readonly aliases = new Map<string, string>()
  /** What becomes of an answer. Default: nothing. */
  intercept: (call: Call, answer: Answer) => Answer | Promise<Answer> = (_, answer) => answer

  /** A client provider: another client each time. Without a Region, the one of `us-east-1`. */
  readonly clientProvider = (region: string): KmsClient & { config: { region: string } } => {
    const at = region || 'us-east-1'
    const method = (operation: Operation) => async (input: Input, options?: { abortSignal?: AbortSignal }) => {
      const call = { region: at, operation, input, signal: options?.abortSignal }
      this.calls.push(call)
      this.#see(input)
      return this.#see(await this.intercept(call, this.#answer(call)))
    }
    return {
      config: { region: at },
      generateDataKey: method('generateDataKey'),
      encrypt: method('encrypt'),
      decrypt: method('decrypt'),
    }
  }

  /** The calls so far, such as `decrypt us-east-1 arn:…`; and forgets them. */
  taken(): string[] {
    return this.calls.splice(0).map(({ region, operation, input }) => `${operation} ${region} ${input.KeyId}`)
  }

  #answer({ region, operation, input }: Call): Answer {
    const arn = this.#resolve(region, input.KeyId)
    if (operation !== 'decrypt') {
      const plaintext = operation === 'encrypt' ? input.Plaintext! : randomBytes(input.NumberOfBytes!)
      const blob = {
        key: materialOf(arn),
        context: input.EncryptionContext,
        plaintext: hex(plaintext),
        id: randomUUID(),
      }
      const CiphertextBlob = Buffer.from(JSON.stringify(blob))
      return { KeyId: arn, CiphertextBlob, ...(operation === 'generateDataKey' && { Plaintext: plaintext }) }
    }
    const blob = JSON.parse(Buffer.from(input.CiphertextBlob!).toString())
    if (blob.key !== materialOf(arn) || sorted(blob.context) !== sorted(input.EncryptionContext)) {
      throw sdkError('InvalidCiphertextException', 400)
    }
    const Plaintext = Buffer.from(blob.plaintext, 'hex')
    return { KeyId: arn, Plaintext }
  }

  #resolve(region: string, keyId: string): string {
    const name = keyId.startsWith('alias/') ? `arn:aws:kms:${region}:${ACCOUNT}:${keyId}` : keyId
    const arn = name.includes(':alias/') ? this.aliases.get(name) : name
    if (!arn) throw sdkError('NotFoundException', 400)
    if (!arn.includes(':')) return keyArn(arn, region)
    if (arn.split(':')[3] !== region) throw sdkError('NotFoundException', 400)
    return arn
  }

  #see<T extends Answer>(holder: T): T {
    const array = holder?.Plaintext
    if (array instanceof Uint8Array) this.handedOut.push({ array, hex: hex(array) })
    return holder
  }
}

/** An error as the SDK makes them: with everything of the request and the answer hanging on it. */
export function sdkError(name: string, httpStatusCode: number | undefined, message = `this is a ${name}`): Error {
  const error = Object.assign(new Error(message), {
    $fault: 'client',
    $metadata: { httpStatusCode, requestId: 'request-1', attempts: 1 },
    $service: 'KMS',
    config: { credentials: { secretAccessKey: SECRETS.key } },
  })
  error.name = name
  Object.defineProperty(error, '$response', {
    value: { headers: { authorization: SECRETS.signature }, body: SECRETS.plaintext },
  })
  return error
}

/** What must never be seen outside. */
export const SECRETS = {
  key: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
  signature: 'AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE, Signature=5d672d79c15b13162d9279b0855cfba6',
  plaintext: 'c2VjcmV0IHBsYWludGV4dCBrZXkgb2YgMzIgYnl0ZXM=',
} as const

/** Key material: the same for related multi-Region keys. */
function materialOf(arn: string): string {
  const [, partition, , region, account, resource] = arn.split(':')
  return [partition, account, resource!.startsWith('key/mrk-') ? '' : region, resource].join(':')
}

function sorted(context: Record<string, string>): string {
  return JSON.stringify(Object.entries(context).sort(([a], [b]) => (a < b ? -1 : 1)))
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}
