/** The public list of `sealwax/local-kms`. */

export { type LocalKms, type LocalKmsOptions, startLocalKms } from './local-kms/server'
export type { Credentials } from './local-kms/sigv4'
