import { types } from 'node:util'
import type { KMSClient } from '@aws-sdk/client-kms'
import { copySecret } from '../bytes'
import type { EncryptionContext } from '../encryption-context'
import { BRANCH_KEY_LENGTH } from '../materials/branch-key-material'
import { callClient, keyServiceError, wipePlaintext } from './kms-calls'
import { kmsSdk } from './kms-clients'

/** What a branch key store asks of KMS. Every answer is checked to be of the key that was asked. */
export class BranchKeyWrapping {
  readonly #client: () => KMSClient
  readonly #grantTokens: readonly string[] | undefined

  constructor(client: () => KMSClient, grantTokens: readonly string[] | undefined) {
    this.#client = client
    this.#grantTokens = grantTokens
  }

  /** A new branch key that nobody has seen, wrapped. */
  async generate(KeyId: string, EncryptionContext: EncryptionContext): Promise<Uint8Array> {
    const input = { KeyId, EncryptionContext, NumberOfBytes: BRANCH_KEY_LENGTH, ...this.#grants() }
    const what = `KMS GenerateDataKeyWithoutPlaintext with ${KeyId}`
    const answer = await callClient(what, this.#client, (client, options) =>
      client.send(new (kmsSdk().GenerateDataKeyWithoutPlaintextCommand)(input), options),
    )
    checkKeyId(answer.KeyId, KeyId)
    return checkBlob(answer.CiphertextBlob)
  }

  /** The same branch key under another context; it stays inside KMS. Fails unless it was wrapped under `from`. */
  async reEncrypt(
    KeyId: string,
    CiphertextBlob: Uint8Array,
    from: EncryptionContext,
    to: EncryptionContext,
  ): Promise<Uint8Array> {
    const input = {
      CiphertextBlob,
      SourceKeyId: KeyId,
      SourceEncryptionContext: from,
      DestinationKeyId: KeyId,
      DestinationEncryptionContext: to,
      ...this.#grants(),
    }
    const answer = await callClient(`KMS ReEncrypt with ${KeyId}`, this.#client, (client, options) =>
      client.send(new (kmsSdk().ReEncryptCommand)(input), options),
    )
    checkKeyId(answer.SourceKeyId, KeyId)
    checkKeyId(answer.KeyId, KeyId)
    return checkBlob(answer.CiphertextBlob)
  }

  /** The branch key itself: the caller's to wipe. */
  async unwrap(KeyId: string, CiphertextBlob: Uint8Array, EncryptionContext: EncryptionContext): Promise<Uint8Array> {
    const input = { KeyId, CiphertextBlob, EncryptionContext, ...this.#grants() }
    const answer = await callClient(`KMS Decrypt with ${KeyId}`, this.#client, (client, options) =>
      client.send(new (kmsSdk().DecryptCommand)(input), options),
    )
    try {
      checkKeyId(answer.KeyId, KeyId)
      const { Plaintext } = answer
      if (types.isUint8Array(Plaintext) && Plaintext.length === BRANCH_KEY_LENGTH) return copySecret(Plaintext)
      throw keyServiceError('KMS branch key decryption failed: the answer is not a key of 32 bytes')
    } finally {
      wipePlaintext(answer)
    }
  }

  #grants() {
    return this.#grantTokens ? { GrantTokens: [...this.#grantTokens] } : {}
  }
}

function checkKeyId(answered: unknown, asked: string): void {
  if (answered !== asked) throw keyServiceError(`KMS answered for another key than ${asked}`)
}

function checkBlob(blob: Uint8Array | undefined): Uint8Array {
  if (types.isUint8Array(blob) && blob.length > 0) return blob
  throw keyServiceError('KMS made no branch key')
}
