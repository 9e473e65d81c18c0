import { createDecipheriv, createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { KmsClient } from '../../src/index'
import {
  type OpenedObject,
  openObject,
  type S3DecryptOptions,
  type S3Keyring,
  S3KmsKeyring,
  S3MultiKeyring,
  S3RawAesKeyring,
  S3RawRsaKeyring,
} from '../../src/s3'
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

export async function openS3Vector(vector: Vector, rawKeys?: RawKeys): Promise<OpenedObject> {
  const { keyring, options, metadata, body, instructionFile } = vector
  const file = instructionFile === undefined ? undefined : Buffer.from(instructionFile, 'base64')
  const object = { metadata, body: Buffer.from(body, 'base64'), instructionFile: file }
  return await openObject(object, s3VectorKeyring(keyring, rawKeys), options as S3DecryptOptions)
}

/** An opened object as vectors expect it. */
export function summaryOf({ plaintext, formatVersion, wrapAlgorithm, materialDescription }: OpenedObject) {
  return {
    sha256: createHash('sha256').update(plaintext).digest('hex'),
    length: plaintext.length,
    formatVersion,
    wrapAlgorithm,
    materialDescription: Object.fromEntries(Object.entries(materialDescription)),
  }
}

export function s3Vectors(file: (typeof S3_VECTOR_FILES)[number]): Vector[] {
  return read<Vector[]>(file)
}

/** Who holds raw keys: the keyrings of `sealwax/s3`, unless said otherwise. */
export interface RawKeys {
  aes(name: string): S3Keyring
  rsa(name: string): S3Keyring
}

const IN_MEMORY: RawKeys = {
  aes: (name) => new S3RawAesKeyring({ wrappingKey: s3VectorAesKey(name) }),
  rsa: (name) => new S3RawRsaKeyring({ rsaKey: { privateKey: s3VectorRsaKey(name) } }),
}

export function s3VectorAesKey(name: string): Buffer {
  return Buffer.from((KEYRINGS[name] as { key: string }).key, 'hex')
}

export function s3VectorRsaKey(name: string): string {
  return (KEYRINGS[name] as { privateKey: string }).privateKey
}

/** A keyring of `keyrings.json`. */
export function s3VectorKeyring(name: string, rawKeys = IN_MEMORY): S3Keyring {
  const description = KEYRINGS[name]!
  if (description.type === 'raw-aes') return rawKeys.aes(name)
  if (description.type === 'raw-rsa') return rawKeys.rsa(name)
  if (description.type === 'multi') {
    const others = description.others.map((other) => ({ ...other, keyring: s3VectorKeyring(other.keyring, rawKeys) }))
    return new S3MultiKeyring({ generator: s3VectorKeyring(description.generator, rawKeys), others })
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
