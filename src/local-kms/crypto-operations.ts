import { type KeyObject, randomBytes } from 'node:crypto'
import { toBase64, wipe } from '../bytes'
import {
  type Call,
  type Operations,
  requireAlgorithm,
  requireUsage,
  secretBase64,
  stopIfDryRun,
  usableKey,
} from './call'
import { invalidCiphertext, KmsError, unsupported, validation } from './errors'
import type { Input } from './input'
import {
  arnOf,
  ENCRYPTION_ALGORITHMS,
  type EncryptionAlgorithm,
  findKey,
  isSymmetric,
  type Key,
  type KeySpec,
  keyShape,
  MAC_ALGORITHMS,
  type Material,
  materialOf,
  requireEnabled,
  SIGNING_ALGORITHMS,
} from './keys'
import {
  blobKeyId,
  blobMaterialId,
  checkDigest,
  decrypt,
  encrypt,
  generateSecret,
  MAX_BLOB_LENGTH,
  MAX_PLAINTEXT_LENGTH,
  mac,
  publicKeyOf,
  sharedSecret,
  signMessage,
  verifyMac,
  verifyMessage,
} from './material'

/** The operations that use keys. None of them changes anything. */
export const cryptoOperations: Operations = {
  Encrypt(call) {
    const algorithm = call.input.oneOf('EncryptionAlgorithm', ENCRYPTION_ALGORITHMS) ?? 'SYMMETRIC_DEFAULT'
    const plaintext = call.input.requiredBlob('Plaintext', MAX_PLAINTEXT_LENGTH)
    const { key, material } = usableKey(call, 'ENCRYPT_DECRYPT')
    const blob = encryptWith(call, key, material, algorithm, 'EncryptionContext', plaintext)
    wipe(plaintext)
    stopIfDryRun(call)
    return { KeyId: key.arn, EncryptionAlgorithm: algorithm, CiphertextBlob: toBase64(blob) }
  },

  Decrypt(call) {
    refuseRecipient(call)
    const opened = decryptBlob(call, 'KeyId', 'EncryptionAlgorithm', 'EncryptionContext')
    try {
      stopIfDryRun(call)
      return {
        KeyId: opened.key.arn,
        EncryptionAlgorithm: opened.algorithm,
        KeyMaterialId: opened.materialId,
        Plaintext: toBase64(opened.plaintext),
      }
    } finally {
      wipe(opened.plaintext)
    }
  },

  ReEncrypt(call) {
    const { input } = call
    const algorithm = input.oneOf('DestinationEncryptionAlgorithm', ENCRYPTION_ALGORITHMS) ?? 'SYMMETRIC_DEFAULT'
    const { key, material } = usableKey(call, 'ENCRYPT_DECRYPT', input.requiredText('DestinationKeyId'))
    requireAlgorithm(key, material, algorithm)
    const source = decryptBlob(call, 'SourceKeyId', 'SourceEncryptionAlgorithm', 'SourceEncryptionContext')
    let blob: Buffer
    try {
      blob = encryptWith(call, key, material, algorithm, 'DestinationEncryptionContext', source.plaintext)
    } finally {
      wipe(source.plaintext)
    }
    stopIfDryRun(call)
    return {
      KeyId: key.arn,
      SourceKeyId: source.key.arn,
      SourceEncryptionAlgorithm: source.algorithm,
      SourceKeyMaterialId: source.materialId,
      DestinationEncryptionAlgorithm: algorithm,
      DestinationKeyMaterialId: blobMaterialId(material, blob),
      CiphertextBlob: toBase64(blob),
    }
  },

  GenerateDataKey(call) {
    refuseRecipient(call)
    const { plaintext, answer } = generateDataKey(call)
    return { ...answer, Plaintext: secretBase64(plaintext) }
  },

  GenerateDataKeyWithoutPlaintext(call) {
    const { plaintext, answer } = generateDataKey(call)
    wipe(plaintext)
    return answer
  },

  async GenerateDataKeyPair(call) {
    refuseRecipient(call)
    const { plaintext, answer } = await generateDataKeyPair(call)
    return { ...answer, PrivateKeyPlaintext: secretBase64(plaintext) }
  },

  async GenerateDataKeyPairWithoutPlaintext(call) {
    const { plaintext, answer } = await generateDataKeyPair(call)
    wipe(plaintext)
    return answer
  },

  GenerateRandom(call) {
    refuseRecipient(call)
    if (call.input.has('CustomKeyStoreId')) throw unsupported('Custom key stores are not supported.')
    const length = call.input.integer('NumberOfBytes', 1, 1024)
    if (length === undefined) throw validation('NumberOfBytes must be specified.')
    return { Plaintext: secretBase64(randomBytes(length)) }
  },

  GetPublicKey(call) {
    const key = requireEnabled(findKey(call.state, call, call.input.requiredText('KeyId'), 'aliases'))
    const material = materialOf(call.state, key)
    const { secret } = material.versions[0]!
    if (secret.type === 'secret') throw unsupported(`${key.arn} has no public key: its key spec is ${material.spec}.`)
    return { KeyId: key.arn, PublicKey: toBase64(publicKeyOf(secret)), ...keyShape(material) }
  },

  Sign(call) {
    const { key, material, algorithm, type, message } = signatureRequest(call)
    stopIfDryRun(call)
    const signature = signMessage(material, algorithm, type, message)
    return { KeyId: key.arn, SigningAlgorithm: algorithm, Signature: toBase64(signature) }
  },

  Verify(call) {
    const signature = call.input.requiredBlob('Signature', MAX_BLOB_LENGTH)
    const { key, material, algorithm, type, message } = signatureRequest(call)
    if (!verifyMessage(material, algorithm, type, message, signature)) {
      throw new KmsError('KMSInvalidSignatureException', 'The signature is not valid.')
    }
    stopIfDryRun(call)
    return { KeyId: key.arn, SigningAlgorithm: algorithm, SignatureValid: true }
  },

  GenerateMac(call) {
    const { key, material, algorithm, message } = macRequest(call)
    stopIfDryRun(call)
    return { KeyId: key.arn, MacAlgorithm: algorithm, Mac: toBase64(mac(material, algorithm, message)) }
  },

  VerifyMac(call) {
    const tag = call.input.requiredBlob('Mac', MAX_BLOB_LENGTH)
    const { key, material, algorithm, message } = macRequest(call)
    if (!verifyMac(material, algorithm, message, tag))
      throw new KmsError('KMSInvalidMacException', 'The MAC is not valid.')
    stopIfDryRun(call)
    return { KeyId: key.arn, MacAlgorithm: algorithm, MacValid: true }
  },

  DeriveSharedSecret(call) {
    refuseRecipient(call)
    const algorithm = call.input.requiredOneOf('KeyAgreementAlgorithm', ['ECDH'])
    const peer = call.input.requiredBlob('PublicKey', MAX_BLOB_LENGTH)
    const { key, material } = usableKey(call, 'KEY_AGREEMENT')
    const secret = sharedSecret(material, peer)
    stopIfDryRun(call)
    return {
      KeyId: key.arn,
      KeyAgreementAlgorithm: algorithm,
      KeyOrigin: 'AWS_KMS',
      SharedSecret: secretBase64(secret),
    }
  },
}

function encryptWith(
  { input }: Call,
  key: Key,
  material: Material,
  algorithm: EncryptionAlgorithm,
  contextField: string,
  plaintext: Uint8Array,
): Buffer {
  requireAlgorithm(key, material, algorithm)
  return encrypt(material, algorithm, contextFor(input.context(contextField), algorithm), plaintext)
}

/** Decrypts `CiphertextBlob`: with the key it names itself, which must be the one in `keyField` where that is given. */
function decryptBlob(call: Call, keyField: string, algorithmField: string, contextField: string) {
  const { input } = call
  const algorithm = input.oneOf(algorithmField, ENCRYPTION_ALGORITHMS) ?? 'SYMMETRIC_DEFAULT'
  if (ignoresCiphertext(input)) {
    const { key, material } = usableKey(call, 'ENCRYPT_DECRYPT', input.requiredText(keyField))
    requireAlgorithm(key, material, algorithm)
    stopIfDryRun(call)
  }
  const blob = input.requiredBlob('CiphertextBlob', MAX_BLOB_LENGTH)
  const context = contextFor(input.context(contextField), algorithm)
  const keyId = input.text(keyField)
  if (keyId === undefined && algorithm !== 'SYMMETRIC_DEFAULT')
    throw validation(`${keyField} is required with algorithm ${algorithm}.`)
  const key = keyId === undefined ? keyOfBlob(call, blob) : findKey(call.state, call, keyId, 'aliases')
  const material = requireUsage(call.state, key, 'ENCRYPT_DECRYPT')
  requireAlgorithm(key, material, algorithm)
  if (isSymmetric(material)) refuseOtherKey(call, key, blob)
  const plaintext = decrypt(material, algorithm, context, blob)
  return { key, algorithm, plaintext, materialId: blobMaterialId(material, blob) }
}

/** A dry run that asks whether a key may be used, whatever the ciphertext; that may be missing. */
function ignoresCiphertext(input: Input): boolean {
  const modifiers = input.texts('DryRunModifiers', 1) ?? []
  if (modifiers.some((one) => one !== 'IGNORE_CIPHERTEXT'))
    throw validation('The only value of DryRunModifiers is IGNORE_CIPHERTEXT.')
  return input.flag('DryRun') && modifiers.length > 0
}

function keyOfBlob(call: Call, blob: Uint8Array): Key {
  const id = blobKeyId(blob)
  if (!call.state.materials.has(id)) throw invalidCiphertext()
  const key = call.state.keys.get(arnOf(`key/${id}`, call))
  if (key) return key
  const message =
    'The ciphertext refers to a customer master key that does not exist, does not exist in this region, or you are not allowed to access.'
  throw new KmsError('AccessDeniedException', message)
}

function refuseOtherKey({ state }: Call, key: Key, blob: Uint8Array): void {
  const id = blobKeyId(blob)
  if (id === key.keyId) return
  // A blob that names no key at all is not one of another key.
  if (!state.materials.has(id)) throw invalidCiphertext()
  throw new KmsError(
    'IncorrectKeyException',
    'The key ID in the request does not identify a key that can perform this operation.',
  )
}

function contextFor(context: Uint8Array, algorithm: EncryptionAlgorithm): Uint8Array {
  if (context.length > 0 && algorithm !== 'SYMMETRIC_DEFAULT') {
    throw validation('An encryption context cannot be specified with an asymmetric KMS key.')
  }
  return context
}

function generateDataKey(call: Call) {
  const { input } = call
  const spec = input.oneOf('KeySpec', ['AES_128', 'AES_256'])
  const bytes = input.integer('NumberOfBytes', 1, 1024)
  if ((spec === undefined) === (bytes === undefined))
    throw validation('Please specify either number of bytes or key spec.')
  const { key, material } = usableKey(call, 'ENCRYPT_DECRYPT')
  const plaintext = randomBytes(bytes ?? (spec === 'AES_128' ? 16 : 32))
  const blob = encryptWith(call, key, material, 'SYMMETRIC_DEFAULT', 'EncryptionContext', plaintext)
  stopIfDryRun(call)
  const KeyMaterialId = blobMaterialId(material, blob)
  return { plaintext, answer: { KeyId: key.arn, KeyMaterialId, CiphertextBlob: toBase64(blob) } }
}

async function generateDataKeyPair(call: Call) {
  const { input } = call
  const spec = input.requiredOneOf('KeyPairSpec', DATA_KEY_PAIR_SPECS)
  const { key, material } = usableKey(call, 'ENCRYPT_DECRYPT')
  requireAlgorithm(key, material, 'SYMMETRIC_DEFAULT')
  // Also where nothing is made: what is wrong with it is told.
  input.context('EncryptionContext')
  stopIfDryRun(call)
  const secret: KeyObject = await generateSecret(spec, call.signal)
  const plaintext = secret.export({ format: 'der', type: 'pkcs8' })
  const blob = encryptWith(call, key, material, 'SYMMETRIC_DEFAULT', 'EncryptionContext', plaintext)
  const answer = {
    KeyId: key.arn,
    KeyPairSpec: spec,
    KeyMaterialId: blobMaterialId(material, blob),
    PublicKey: toBase64(publicKeyOf(secret)),
    PrivateKeyCiphertextBlob: toBase64(blob),
  }
  return { plaintext, answer }
}

function signatureRequest(call: Call) {
  const { input } = call
  const algorithm = input.requiredOneOf('SigningAlgorithm', SIGNING_ALGORITHMS)
  const type = input.oneOf('MessageType', ['RAW', 'DIGEST']) ?? 'RAW'
  const message = input.requiredBlob('Message', MAX_PLAINTEXT_LENGTH)
  const { key, material } = usableKey(call, 'SIGN_VERIFY')
  requireAlgorithm(key, material, algorithm)
  if (type === 'DIGEST') checkDigest(algorithm, message)
  return { key, material, algorithm, type, message } as const
}

function macRequest(call: Call) {
  const algorithm = call.input.requiredOneOf('MacAlgorithm', MAC_ALGORITHMS)
  const message = call.input.requiredBlob('Message', MAX_PLAINTEXT_LENGTH)
  const { key, material } = usableKey(call, 'GENERATE_VERIFY_MAC')
  return { key, material, algorithm: requireAlgorithm(key, material, algorithm), message }
}

/** Attested recipients (Nitro enclaves) get their answer encrypted, which this server cannot do. */
function refuseRecipient({ input }: Call): void {
  if (input.has('Recipient')) throw unsupported('Recipient is not supported.')
}

const DATA_KEY_PAIR_SPECS: readonly KeySpec[] = [
  'RSA_2048',
  'RSA_3072',
  'RSA_4096',
  'ECC_NIST_P256',
  'ECC_NIST_P384',
  'ECC_NIST_P521',
  'ECC_SECG_P256K1',
]
