/** Wrapping keys for S3 objects, from the options that messages have too. */
import type { S3Keyring } from '../s3'
import { isUnanswered, UsageError } from './errors'
import { clientsAt, discoveryFilterOf, type KeyOptions, readRsaKey, withKeyFile } from './keys'
import { isTokenKey, kindOf, type NamedTokenKey, tokenKeys, usage } from './token'

type S3KeyOptions = Omit<KeyOptions, 'oaepHash'>

/** The one keyring that the options name, or for decryption one that tries all of them. */
export async function toS3Keyring(options: S3KeyOptions, use: 'encrypt' | 'decrypt'): Promise<S3Keyring> {
  const { S3KmsKeyring, S3RawAesKeyring, S3RawRsaKeyring } = require('../s3') as typeof import('../s3')
  const { key = [], rsaPublicKey, rsaPrivateKey, wrappingKey = [], kmsEndpoint, discovery } = options
  const discoveryFilter = discoveryFilterOf(options)
  const keyrings: S3Keyring[] = []
  for (const path of key) {
    keyrings.push(
      await withKeyFile(path, ({ namespace, name, key: wrappingKey }) => {
        return new S3RawAesKeyring({ wrappingKey, materialDescription: { namespace, name } })
      }),
    )
  }
  if ((rsaPublicKey ?? rsaPrivateKey) !== undefined)
    keyrings.push(await readRsaKey(options, (rsaKey) => new S3RawRsaKeyring({ rsaKey })))
  const clients = kmsEndpoint === undefined ? {} : { clientProvider: clientsAt(kmsEndpoint) }
  try {
    for (const keyId of wrappingKey.filter((key) => !isTokenKey(key)))
      keyrings.push(new S3KmsKeyring({ keyId, ...clients }))
    if (discovery) keyrings.push(new S3KmsKeyring({ discovery, discoveryFilter, ...clients }))
  } catch (error) {
    throw new UsageError((error as Error).message)
  }
  for (const key of tokenKeys(wrappingKey.filter(isTokenKey), options)) keyrings.push(await toTokenKeyring(key))
  const [first, ...others] = keyrings
  if (!first)
    throw new UsageError('no key given: name a key file with --key, a KMS key, a key of a PKCS#11 token, or an RSA key')
  if (others.length === 0) return first
  if (use === 'encrypt')
    throw new UsageError('an S3 object has one wrapping key: name one only, or use --format message')
  return firstThatOpens(keyrings)
}

/** Only KMS binds pairs to an object. */
export function refuseContextFor(options: S3KeyOptions, option: string): void {
  const { key = [], rsaPublicKey, wrappingKey = [] } = options
  if (key.length === 0 && rsaPublicKey === undefined && !wrappingKey.some(isTokenKey)) return
  throw new UsageError(`${option} is for keys of AWS KMS: no other key binds pairs to an S3 object`)
}

async function toTokenKeyring({ token, uri: key, namespace, name }: NamedTokenKey): Promise<S3Keyring> {
  const { S3Pkcs11AesKeyring, S3Pkcs11RsaKeyring } = require('../pkcs11') as typeof import('../pkcs11')
  const isAes = (await kindOf(token, key)) === 'aes'
  const input = { token, key, materialDescription: { namespace, name } }
  return usage(() => (isAes ? new S3Pkcs11AesKeyring(input) : new S3Pkcs11RsaKeyring(input)))
}

/** Objects name their key in a way that is not authenticated, and KMS keys not at all. */
function firstThatOpens(keyrings: readonly S3Keyring[]): S3Keyring {
  return {
    wrapDataKey: (request) => keyrings[0]!.wrapDataKey(request),
    async unwrapDataKey(request) {
      let failure: unknown
      for (const keyring of keyrings) {
        try {
          const dataKey = await keyring.unwrapDataKey(request)
          if (dataKey) return dataKey
        } catch (error) {
          // Where a key could not be asked, none of the others tells that it does not open.
          if (!isUnanswered(failure)) failure = error
        }
      }
      if (failure) throw failure
      return undefined
    },
  }
}
