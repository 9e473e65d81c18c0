/** What Sealwax says to tokens, in their terms. */
import type * as Pkcs11js from 'pkcs11js'
import type { WireMechanism } from './pkcs11-wire'

/** What tokens are asked for. */
export const MECHANISMS = [
  'CKM_AES_GCM',
  'CKM_AES_ECB',
  'CKM_AES_KEY_WRAP',
  'CKM_RSA_PKCS_OAEP',
  'CKM_RSA_PKCS',
  'CKM_RSA_X_509',
] as const

export const GCM_IV_LENGTH = 12
/** Missing in pkcs11js. */
const CKZ_DATA_SPECIFIED = 1

/** What a mechanism is good for, as far as it matters here. */
export function usesOf(p: typeof Pkcs11js, { flags }: Pkcs11js.MechanismInfo): string[] {
  const uses = { encrypt: p.CKF_ENCRYPT, decrypt: p.CKF_DECRYPT, unwrap: p.CKF_UNWRAP }
  return Object.entries(uses).flatMap(([use, flag]) => (flags & flag ? [use] : []))
}

/** `body` begins with the parameters of AES-GCM: IV and AAD, which the token reads, and may write to, where they are. */
export function mechanismOf(p: typeof Pkcs11js, mechanism: WireMechanism, body: Uint8Array): Pkcs11js.Mechanism {
  switch (mechanism.name) {
    case 'gcm': {
      const iv = Buffer.from(body.buffer, 0, GCM_IV_LENGTH)
      const aad = Buffer.from(body.buffer, GCM_IV_LENGTH, mechanism.aadLength)
      const parameter = { type: p.CK_PARAMS_AES_GCM_v240, iv, ivBits: iv.length * 8, aad, tagBits: 128 }
      return { mechanism: p.CKM_AES_GCM, parameter }
    }
    case 'oaep': {
      const [hashAlg, mgf] = {
        sha1: [p.CKM_SHA_1, p.CKG_MGF1_SHA1],
        sha256: [p.CKM_SHA256, p.CKG_MGF1_SHA256],
        sha384: [p.CKM_SHA384, p.CKG_MGF1_SHA384],
        sha512: [p.CKM_SHA512, p.CKG_MGF1_SHA512],
      }[mechanism.hash] as [number, number]
      const parameter = { type: p.CK_PARAMS_RSA_OAEP, hashAlg, mgf, source: CKZ_DATA_SPECIFIED }
      return { mechanism: p.CKM_RSA_PKCS_OAEP, parameter }
    }
    case 'pkcs1':
      return { mechanism: p.CKM_RSA_PKCS }
    case 'rsa':
      return { mechanism: p.CKM_RSA_X_509 }
    case 'ecb':
      return { mechanism: p.CKM_AES_ECB }
    case 'key-wrap':
      return { mechanism: p.CKM_AES_KEY_WRAP }
  }
}
