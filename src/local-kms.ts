/** The public list of `sealwax/local-kms`. */
/// <reference types="node" preserve="true" />

export { type LocalKms, type LocalKmsOptions, startLocalKms } from './local-kms/server'
export type { Credentials } from './local-kms/sigv4'
