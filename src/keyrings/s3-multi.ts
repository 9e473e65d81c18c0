import type { EncryptionContext } from '../encryption-context'
import {
  checkS3Keyring,
  type S3Keyring,
  type S3UnwrapRequest,
  type S3WrappedDataKey,
  type S3WrapRequest,
  samePairs,
} from '../materials/s3-keyring'
import { checkOptions, describe } from '../options'
import { checkMaterialDescription } from './s3-material'

export interface S3MultiKeyringInput {
  /** Encrypts; decrypts objects for whose materials description there is no other keyring. */
  generator: S3Keyring
  /** Keyrings that only decrypt, each the objects with exactly this materials description. */
  others: readonly { materialDescription: EncryptionContext; keyring: S3Keyring }[]
}

/**
 * Several keyrings for decryption, chosen by the materials description of the object: for keys that were replaced.
 *
 * @example
 * const keyring = new S3MultiKeyring({
 *   generator: new S3RawAesKeyring({ wrappingKey: key2026, materialDescription: { version: '2026' } }),
 *   others: [{ materialDescription: { version: '2025' }, keyring: new S3RawAesKeyring({ wrappingKey: key2025 }) }],
 * })
 */
export class S3MultiKeyring implements S3Keyring {
  readonly generator: S3Keyring
  readonly #others: readonly { materialDescription: Readonly<EncryptionContext>; keyring: S3Keyring }[]

  constructor(input: S3MultiKeyringInput) {
    const { generator, others } = checkOptions(input, ['generator', 'others'], 'S3MultiKeyring')
    if (!Array.isArray(others)) throw new TypeError(`"others" must be an array, got ${describe(others)}`)
    this.generator = checkS3Keyring(generator, 'generator')
    this.#others = others.map((other) => {
      const { materialDescription, keyring } = checkOptions(other, ['materialDescription', 'keyring'], '"others"')
      return {
        materialDescription: checkMaterialDescription(materialDescription),
        keyring: checkS3Keyring(keyring, 'keyring'),
      }
    })
    const isTwice = this.#others.some(({ materialDescription: a }, i) =>
      this.#others.slice(0, i).some(({ materialDescription: b }) => samePairs(a, b)),
    )
    if (isTwice) throw new RangeError('"others" has two keyrings for one materials description')
    Object.freeze(this)
  }

  async wrapDataKey(request: S3WrapRequest): Promise<S3WrappedDataKey> {
    return await this.generator.wrapDataKey(request)
  }

  async unwrapDataKey(request: S3UnwrapRequest): Promise<Uint8Array | undefined> {
    const match = this.#others.find((other) => samePairs(other.materialDescription, request.materialDescription))
    return await (match?.keyring ?? this.generator).unwrapDataKey(request)
  }
}
Object.freeze(S3MultiKeyring)
Object.freeze(S3MultiKeyring.prototype)
