import { SealwaxError } from './errors'

/** Message format versions. */
export enum MessageFormat {
  V1 = 1,
  V2 = 2,
}
Object.freeze(MessageFormat)

/** The 11 algorithm suites of the AWS Encryption SDK message format, by name and by id. */
export enum AlgorithmSuiteIdentifier {
  ALG_AES128_GCM_IV12_TAG16 = 0x0014,
  ALG_AES192_GCM_IV12_TAG16 = 0x0046,
  ALG_AES256_GCM_IV12_TAG16 = 0x0078,
  ALG_AES128_GCM_IV12_TAG16_HKDF_SHA256 = 0x0114,
  ALG_AES192_GCM_IV12_TAG16_HKDF_SHA256 = 0x0146,
  ALG_AES256_GCM_IV12_TAG16_HKDF_SHA256 = 0x0178,
  ALG_AES128_GCM_IV12_TAG16_HKDF_SHA256_ECDSA_P256 = 0x0214,
  ALG_AES192_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384 = 0x0346,
  ALG_AES256_GCM_IV12_TAG16_HKDF_SHA384_ECDSA_P384 = 0x0378,
  ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY = 0x0478,
  ALG_AES256_GCM_IV12_TAG16_HKDF_SHA512_COMMIT_KEY_ECDSA_P384 = 0x0578,
}
Object.freeze(AlgorithmSuiteIdentifier)

type Hash = 'sha256' | 'sha384' | 'sha512'
type Curve = 'prime256v1' | 'secp384r1'
interface Row {
  keyLength: 128 | 192 | 256
  kdfHash?: Hash
  signatureCurve?: Curve
  signatureHash?: Hash
  commits?: true
}

// client-apis/algorithm-suites / framework/algorithm-suites.md "Supported Algorithm Suites".
const ROWS: ReadonlyMap<number, Row> = new Map([
  [0x0014, { keyLength: 128 }],
  [0x0046, { keyLength: 192 }],
  [0x0078, { keyLength: 256 }],
  [0x0114, { keyLength: 128, kdfHash: 'sha256' }],
  [0x0146, { keyLength: 192, kdfHash: 'sha256' }],
  [0x0178, { keyLength: 256, kdfHash: 'sha256' }],
  [0x0214, { keyLength: 128, kdfHash: 'sha256', signatureCurve: 'prime256v1', signatureHash: 'sha256' }],
  [0x0346, { keyLength: 192, kdfHash: 'sha384', signatureCurve: 'secp384r1', signatureHash: 'sha384' }],
  [0x0378, { keyLength: 256, kdfHash: 'sha384', signatureCurve: 'secp384r1', signatureHash: 'sha384' }],
  [0x0478, { keyLength: 256, kdfHash: 'sha512', commits: true }],
  [0x0578, { keyLength: 256, kdfHash: 'sha512', signatureCurve: 'secp384r1', signatureHash: 'sha384', commits: true }],
])

/**
 * One algorithm suite: a frozen row of the table. `new NodeAlgorithmSuite(0x0578)`; lengths are in bits where the
 * field's peers have them so (`keyLength`, `tagLength`, `commitmentLength`), in bytes where the name or this says so.
 */
export class NodeAlgorithmSuite {
  readonly type = 'node'
  readonly id: AlgorithmSuiteIdentifier
  readonly name: keyof typeof AlgorithmSuiteIdentifier
  readonly messageFormat: MessageFormat
  readonly encryption: 'aes-128-gcm' | 'aes-192-gcm' | 'aes-256-gcm'
  /** Bits of the AES key and of the plaintext data key. */
  readonly keyLength: 128 | 192 | 256
  /** The same in bytes. */
  readonly keyLengthBytes: number
  /** Bytes. */
  readonly ivLength = 12
  /** Bits. */
  readonly tagLength = 128
  /** Whether one data key may protect many messages: only where each message derives a key of its own. */
  readonly cacheSafe: boolean
  readonly commitment: 'NONE' | 'KEY'
  declare readonly kdf?: 'HKDF'
  declare readonly kdfHash?: Hash
  declare readonly signatureCurve?: Curve
  declare readonly signatureHash?: Hash
  declare readonly commitmentHash?: 'sha512'
  /** Bytes of the commitment in the header. */
  declare readonly suiteDataLength?: 32
  /** Bits. */
  declare readonly commitmentLength?: 256
  declare readonly saltLengthBytes?: 32

  constructor(id: AlgorithmSuiteIdentifier) {
    const row = ROWS.get(id)
    if (!row) throw unsupportedSuite(id)
    const { keyLength, kdfHash, signatureCurve, signatureHash, commits } = row
    this.id = id
    this.name = AlgorithmSuiteIdentifier[id] as keyof typeof AlgorithmSuiteIdentifier
    this.messageFormat = commits ? 2 : 1
    this.encryption = `aes-${keyLength}-gcm`
    this.keyLength = keyLength
    this.keyLengthBytes = keyLength / 8
    this.cacheSafe = kdfHash !== undefined
    this.commitment = commits ? 'KEY' : 'NONE'
    if (kdfHash) Object.assign(this, { kdf: 'HKDF', kdfHash })
    if (signatureCurve) Object.assign(this, { signatureCurve, signatureHash })
    if (commits) {
      Object.assign(this, { commitmentHash: 'sha512', suiteDataLength: 32, commitmentLength: 256, saltLengthBytes: 32 })
    }
    Object.freeze(this)
  }
}
Object.freeze(NodeAlgorithmSuite)
Object.freeze(NodeAlgorithmSuite.prototype)

const SUITES = new Map([...ROWS.keys()].map((id) => [id, new NodeAlgorithmSuite(id)]))

/** The suite with this id. Throws `ERR_UNSUPPORTED_FORMAT` where there is none. */
export function getSuite(id: number): NodeAlgorithmSuite {
  const suite = SUITES.get(id)
  if (!suite) throw unsupportedSuite(id)
  return suite
}

/** Whether messages of the suite with this id are signed. */
export function isSigned(id: number): boolean {
  return SUITES.get(id)?.signatureCurve !== undefined
}

function unsupportedSuite(id: unknown): SealwaxError {
  const shown = typeof id === 'number' ? `0x${id.toString(16).padStart(4, '0')}` : typeof id
  return new SealwaxError('ERR_UNSUPPORTED_FORMAT', `Unsupported algorithm suite. ${shown}`)
}
