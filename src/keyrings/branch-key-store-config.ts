import { checkOptions, checkString, describe } from '../options'
import { inRegion, isMultiRegion, isSameKey, parseKeyArn } from './kms-arn'

/** This KMS key and no other, by its ARN. */
export interface KMSSingleRegionKey {
  identifier: string
}

/** This multi-Region key, and those related to it, by the ARN of the one to call. */
export interface KMSMultiRegionKey {
  mrkIdentifier: string
}

/** Whatever key a branch key was made with. Such a store makes no keys. */
export type Discovery = 'discovery'

/** Whatever key a branch key was made with; multi-Region keys in this Region. Such a store makes no keys. */
export interface MrDiscovery {
  region: string
}

export type KmsConfig = KMSSingleRegionKey | KMSMultiRegionKey | Discovery | MrDiscovery

/** The part of {@link KmsKeyConfig} that tells of Regions and keys. */
export interface RegionalKmsConfig {
  getRegion(): string | undefined
  isCompatibleWithArn(otherArn: string): boolean
}

/** Which KMS keys a branch key store uses (framework/branch-key-store.md "AWS KMS Configuration"). */
export class KmsKeyConfig implements RegionalKmsConfig {
  /** The ARN of the configured key; absent in discovery. */
  readonly keyArn: string | undefined
  readonly #config: KmsConfig
  readonly #region: string | undefined

  constructor(config: KmsConfig) {
    const copy = checkConfig(config)
    this.#config = copy
    if (copy !== 'discovery') {
      if ('identifier' in copy) this.keyArn = checkArn(copy.identifier, 'identifier')
      else if ('mrkIdentifier' in copy) this.keyArn = checkArn(copy.mrkIdentifier, 'mrkIdentifier')
      this.#region = 'region' in copy ? checkString(copy.region, 'region') : parseKeyArn(this.keyArn!)!.region
    }
    Object.freeze(this)
  }

  /** As it was given: a copy. */
  get config(): KmsConfig {
    return typeof this.#config === 'string' ? this.#config : { ...this.#config }
  }

  /** The Region to make clients for; `undefined` is the default one. */
  getRegion(): string | undefined {
    return this.#region
  }

  /** Whether branch keys made with this KMS key may be used. In discovery, all may whose ARN is well-formed. */
  isCompatibleWithArn(otherArn: string): boolean {
    const config = this.#config
    if (config === 'discovery' || 'region' in config) return checkArn(otherArn, 'kms-arn') === otherArn
    return 'identifier' in config ? config.identifier === otherArn : isSameKey(config.mrkIdentifier, otherArn)
  }

  /** The ARN to decrypt with what was made with `otherArn`. Throws `RangeError` where the two are not compatible. */
  getCompatibleArnArn(otherArn: string): string {
    if (!this.isCompatibleWithArn(otherArn)) {
      throw new RangeError(
        `KMS ARN from DDB response item MUST be compatible with the configured KMS Key in the AWS KMS Configuration for this keystore: it is ${describe(otherArn)}`,
      )
    }
    if (this.keyArn) return this.keyArn
    const arn = parseKeyArn(otherArn)!
    return this.#region !== undefined && isMultiRegion(arn) ? inRegion(arn, this.#region) : otherArn
  }
}
Object.freeze(KmsKeyConfig)
Object.freeze(KmsKeyConfig.prototype)

function checkConfig(config: KmsConfig): KmsConfig {
  if (config === 'discovery') return config
  if (typeof config === 'string') throw new RangeError(`Unexpected config shape. The only text is "discovery"`)
  if (!config) throw new TypeError(`Config must be a \`discovery\` or an object, got ${describe(config)}`)
  const copy = { ...checkOptions<object>(config, SHAPES as never[], '"kmsConfiguration"') } as KmsConfig
  if (Object.keys(copy).length === 1) return Object.freeze(copy) as KmsConfig
  throw new TypeError(`Unexpected config shape. "kmsConfiguration" must have exactly one of ${SHAPES.join(', ')}`)
}

function checkArn(arn: unknown, name: string): string {
  if (typeof arn !== 'string') throw new TypeError(`ARN must be a string. "${name}" is ${describe(arn)}`)
  if (parseKeyArn(arn)) return arn
  throw new RangeError(`${describe(arn)} must be a well-formed AWS KMS non-alias resource arn ("${name}")`)
}

const SHAPES = ['identifier', 'mrkIdentifier', 'region']
