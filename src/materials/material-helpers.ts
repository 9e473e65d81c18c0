/**
 * What `@aws-crypto/client-node` offers to programs that seal message parts themselves: node:crypto ciphers and
 * signatures set up from materials. This library's own messages do not pass through here.
 */
import { createCipheriv, createDecipheriv, createSign, createVerify, type Sign, type Verify } from 'node:crypto'
import { deriveCommittedKey, deriveMessageKeys } from '../engine/derive'
import { getEngine } from '../engine/engine'
import { invalidMaterials } from '../errors'
import { checkBytes } from '../options'
import type { NodeAlgorithmSuite } from '../suites'
import { dataKeyOf, NodeDecryptionMaterial, NodeEncryptionMaterial } from './materials'

/** AES-GCM under a message's derived key, encrypting. */
export interface AwsEsdkJsCipherGCM {
  update(data: Buffer): Buffer
  final(): Buffer
  getAuthTag(): Buffer
  setAAD(aad: Buffer): this
}

/** AES-GCM under a message's derived key, decrypting. The tag must be 16 bytes. */
export interface AwsEsdkJsDecipherGCM {
  update(data: Buffer): Buffer
  final(): Buffer
  setAuthTag(tag: Buffer): this
  setAAD(aad: Buffer): this
}

export type GetCipher = (iv: Uint8Array) => AwsEsdkJsCipherGCM
export type GetDecipher = (iv: Uint8Array) => AwsEsdkJsDecipherGCM
export type GetSigner = () => Sign & { awsCryptoSign: () => Buffer }
export type GetVerify = () => Verify & { awsCryptoVerify: (signature: Buffer) => boolean }

export interface NodeEncryptionMaterialHelper {
  /** Derives the key of the message with this ID. */
  getCipherInfo: (messageId: Uint8Array) => { getCipher: GetCipher; keyCommitment?: Uint8Array }
  /** Present for signed suites. */
  getSigner?: GetSigner
  /** Wipes the materials' data key. */
  dispose: () => void
}

export interface NodeDecryptionMaterialHelper {
  /** Derives the key of the message with this ID; `commitKey` is the commitment in its header, for suites that have one. */
  getDecipherInfo: (messageId: Uint8Array, commitKey?: Uint8Array) => GetDecipher
  /** Present for signed suites. */
  getVerify?: GetVerify
  /** Wipes the materials' data key. */
  dispose: () => void
}

/** @example const { getCipher } = getEncryptHelper(material).getCipherInfo(messageId) */
export function getEncryptHelper(material: NodeEncryptionMaterial): NodeEncryptionMaterialHelper {
  if (!(material instanceof NodeEncryptionMaterial)) throw new TypeError('Unsupported cryptographic material.')
  dataKeyOf(material)
  const { suite } = material
  return Object.freeze<NodeEncryptionMaterialHelper>({
    getCipherInfo: (messageId) => {
      checkMessageId(messageId, suite)
      const { key, commitment } = deriveMessageKeys(getEngine(), suite, dataKeyOf(material), messageId)
      return {
        getCipher: (iv) => {
          checkIv(iv, suite, material)
          return createCipheriv(suite.encryption, key, iv)
        },
        ...(commitment && { keyCommitment: Buffer.from(commitment) }),
      }
    },
    ...(suite.signatureHash && {
      getSigner: () => {
        dataKeyOf(material)
        const { privateKey } = material.signatureKey!
        const signer = createSign(suite.signatureHash!)
        return Object.assign(signer, { awsCryptoSign: () => signer.sign(privateKey) })
      },
    }),
    dispose: () => void material.zeroUnencryptedDataKey(),
  })
}

/** @example const getDecipher = getDecryptionHelper(material).getDecipherInfo(messageId, suiteData) */
export function getDecryptionHelper(material: NodeDecryptionMaterial): NodeDecryptionMaterialHelper {
  if (!(material instanceof NodeDecryptionMaterial)) throw new TypeError('Unsupported cryptographic material.')
  dataKeyOf(material)
  const { suite } = material
  return Object.freeze<NodeDecryptionMaterialHelper>({
    getDecipherInfo: (messageId, commitKey = new Uint8Array(0)) => {
      checkMessageId(messageId, suite)
      if (suite.commitment === 'NONE' && commitKey.length > 0) throw invalidMaterials('Commitment not supported.')
      const key = deriveCommittedKey(getEngine(), suite, dataKeyOf(material), messageId, commitKey)
      return (iv) => {
        checkIv(iv, suite, material)
        return createDecipheriv(suite.encryption, key, iv, { authTagLength: 16 })
      }
    },
    ...(suite.signatureHash && {
      getVerify: () => {
        const { publicKey } = material.verificationKey!
        const verify = createVerify(suite.signatureHash!)
        const awsCryptoVerify = (signature: Buffer) => verify.verify(publicKey, signature)
        return Object.assign(verify, { awsCryptoVerify })
      },
    }),
    dispose: () => void material.zeroUnencryptedDataKey(),
  })
}

function checkMessageId(messageId: Uint8Array, suite: NodeAlgorithmSuite): void {
  checkBytes(messageId, 'messageId')
  if (suite.saltLengthBytes && messageId.length !== suite.saltLengthBytes) {
    throw new RangeError('Nonce is not the correct length for committed algorithm suite.')
  }
}

function checkIv(iv: Uint8Array, suite: NodeAlgorithmSuite, material: NodeEncryptionMaterial | NodeDecryptionMaterial) {
  if (checkBytes(iv, 'iv').length !== suite.ivLength) {
    throw new RangeError('Iv length does not match algorithm suite specification')
  }
  if (!material.hasUnencryptedDataKey) throw invalidMaterials('Unencrypted data key has been zeroed.')
}
