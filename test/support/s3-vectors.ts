import { createDecipheriv } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { KmsClient } from '../../src/index'
import { type S3Keyring, S3KmsKeyring, S3MultiKeyring, S3RawAesKeyring, S3RawRsaKeyring } from '../../src/s3'
import type { Vector } from '../vectors/s3/cases/case'

export const S3_VECTORS = join(__dirname, '../vectors/s3')
export const S3_VECTOR_FILES = ['valid', 'policy', 'format', 'instruction-files', 'unauthentic'] as const

type Description =
  | { type: 'raw-aes'; key: string }
  | { type: 'raw-rsa'; privateKey: string }
  | { type: 'kms'; keyId: string; key: string }
  | {
      type: 'kms'
      keyId?: never
      discovery: true
      discoveryFilter?: { accountIDs: string[]; partition: string }
      actualKeyId: string
      key: string
    }
  | { type: 'multi'; generator: string; others: { materialDescription: Record<string, string>; keyring: string }[] }

const KEYRINGS = read<Record<string, Description>>('keyrings')

export function s3Vectors(file: (typeof S3_VECTOR_FILES)[number]): Vector[] {
  return read<Vector[]>(file)
}

/** A keyring of `keyrings.json`. */
export function s3VectorKeyring(name: string): S3Keyring {
  const description = KEYRINGS[name]!
  if (description.type === 'raw-aes') return new S3RawAesKeyring({ wrappingKey: Buffer.from(description.key, 'hex') })
  if (description.type === 'raw-rsa') return new S3RawRsaKeyring({ rsaKey: { privateKey: description.privateKey } })
  if (description.type === 'multi') {
    const others = description.others.map((other) => ({ ...other, keyring: s3VectorKeyring(other.keyring) }))
    return new S3MultiKeyring({ generator: s3VectorKeyring(description.generator), others })
  }
  const key = Buffer.from(description.key, 'hex')
  if (description.keyId !== undefined) {
    return new S3KmsKeyring({ keyId: description.keyId, clientProvider: () => standIn(description.keyId, key) })
  }
  const { discoveryFilter, actualKeyId } = description
  return new S3KmsKeyring({ discovery: true, discoveryFilter, clientProvider: () => standIn(actualKeyId, key) })
}

/** The KMS of the vectors: README.md says what its blobs are. */
function standIn(keyId: string, key: Buffer): KmsClient {
  const refuse = async () => {
    throw new Error('the vectors are only read')
  }
  return {
    generateDataKey: refuse,
    encrypt: refuse,
    decrypt: async ({ CiphertextBlob: blob, EncryptionContext }) => {
      const aad = JSON.stringify(Object.entries(EncryptionContext).sort(([a], [b]) => (a < b ? -1 : 1)))
      const decipher = createDecipheriv('aes-256-gcm', key, blob.subarray(0, 12)).setAAD(Buffer.from(aad))
      try {
        decipher.setAuthTag(blob.subarray(-16))
        return { KeyId: keyId, Plaintext: Buffer.concat([decipher.update(blob.subarray(12, -16)), decipher.final()]) }
      } catch {
        throw Object.assign(new Error('null'), { name: 'InvalidCiphertextException' })
      }
    },
  }
}

function read<T>(file: string): T {
  return JSON.parse(readFileSync(join(S3_VECTORS, `${file}.json`), 'utf8')) as T
}
