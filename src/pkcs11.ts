/** The public list of `sealwax/pkcs11`: keys that stay in PKCS#11 tokens. */
/// <reference types="node" preserve="true" />

export { SealwaxError, type SealwaxErrorCode } from './errors'
export { Pkcs11AesKeyring, type Pkcs11AesKeyringInput } from './keyrings/pkcs11-aes'
export type { KeySelector } from './keyrings/pkcs11-key'
export type { PinSource, PinValue } from './keyrings/pkcs11-pin'
export { Pkcs11RsaKeyring, type Pkcs11RsaKeyringInput } from './keyrings/pkcs11-rsa'
export type { TokenSelector } from './keyrings/pkcs11-selector'
export {
  type GenerateKeyInput,
  type Pkcs11KeyInfo,
  Pkcs11Token,
  type Pkcs11TokenInput,
} from './keyrings/pkcs11-token'
export { type Pkcs11Uri, parsePkcs11Uri } from './keyrings/pkcs11-uri'
export type { KeyDescription, KeyKind, OaepHashName, TokenDescription } from './keyrings/pkcs11-wire'
export { S3Pkcs11AesKeyring, type S3Pkcs11AesKeyringInput } from './keyrings/s3-pkcs11-aes'
export { S3Pkcs11RsaKeyring, type S3Pkcs11RsaKeyringInput } from './keyrings/s3-pkcs11-rsa'
