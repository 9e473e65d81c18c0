import type { Draft } from './case'

export const MALFORMED = 'ERR_MESSAGE_MALFORMED'
export const UNSUPPORTED = 'ERR_UNSUPPORTED_FORMAT'
export const POLICY = 'ERR_COMMITMENT_POLICY'
export const LEGACY = 'ERR_LEGACY_REFUSED'
export const CONTEXT = 'ERR_ENCRYPTION_CONTEXT'
export const UNAUTHENTIC = 'ERR_AUTHENTICATION_FAILED'

export const CBC = 'AES/CBC/PKCS5Padding'
export const OAEP_SHA256 = 'RSA/ECB/OAEPWithSHA-256AndMGF1Padding'
export const LEGACY_OBJECTS: Record<string, Draft> = {
  'version 1': { version: 1, wrap: 'AES' },
  'version 1, RSA': { version: 1, wrap: 'RSA' },
  AESWrap: { version: 2, wrap: 'AESWrap' },
  'OAEP of SHA-256': { version: 2, wrap: OAEP_SHA256 },
  kms: { version: 2, wrap: 'kms' },
  'kms with AES-CBC': { version: 2, wrap: 'kms', contentAlgorithm: CBC },
}
export const v3: Draft = { version: 3, wrap: 'AES/GCM' }
export const v2: Draft = { version: 2, wrap: 'AES/GCM' }
export const v1: Draft = { version: 1, wrap: 'AES' }
export const kms3: Draft = { version: 3, wrap: 'kms+context', description: { a: 'b' } }
export const kms2: Draft = { version: 2, wrap: 'kms+context', description: { a: 'b' } }
export const VERSIONS = { 'version 1': v1, 'version 2': v2, 'version 3': v3 }
