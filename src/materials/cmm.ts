import { toBase64 } from '../bytes'
import type { EncryptedDataKey } from '../encrypted-data-key'
import { copyContext, type EncryptionContext, PUBLIC_KEY_FIELD, refusePublicKey, withPair } from '../encryption-context'
import { invalidMaterials, malformed, SealwaxError } from '../errors'
import { describe } from '../options'
import { type CommitmentPolicy, CommitmentPolicySuites, checkCommitmentPolicy } from '../policies'
import { getSuite, type NodeAlgorithmSuite } from '../suites'
import { KeyringNode } from './keyring'
import { abandon, NodeDecryptionMaterial, NodeEncryptionMaterial } from './materials'
import { SignatureKey, VerificationKey } from './signature'

/** What a client asks of a materials manager to encrypt one message. */
export interface NodeEncryptionRequest {
  /** Default: the policy's default suite. */
  readonly suite?: NodeAlgorithmSuite | undefined
  readonly encryptionContext: EncryptionContext
  readonly commitmentPolicy: CommitmentPolicy
  /** Bytes of plaintext to come, at most; absent when unknown. */
  readonly plaintextLength?: number | undefined
  /** Keys of pairs to authenticate, but not to store in the message. Default: none. */
  readonly requiredEncryptionContextKeys?: readonly string[]
  /** Fires when the message is given up: nobody waits for its materials any more. */
  readonly signal?: AbortSignal | undefined
}

/** What a client asks of a materials manager to decrypt one message. */
export interface NodeDecryptionRequest {
  readonly suite: NodeAlgorithmSuite
  readonly encryptionContext: EncryptionContext
  readonly encryptedDataKeys: readonly EncryptedDataKey[]
  /** Pairs that the caller says the message was encrypted with. Those that it does not store are authenticated with it. */
  readonly reproducedEncryptionContext?: Readonly<EncryptionContext> | undefined
  /** Fires when the message is given up: nobody waits for its materials any more. */
  readonly signal?: AbortSignal | undefined
}

/** Cryptographic materials manager (CMM): where the materials of a message come from. Any object with both methods. */
export interface NodeMaterialsManager {
  /** Keys of pairs that messages do not store, if there are any: who decrypts reproduces them. */
  readonly requiredEncryptionContextKeys?: readonly string[]
  getEncryptionMaterials(request: NodeEncryptionRequest): Promise<NodeEncryptionMaterial>
  decryptMaterials(request: NodeDecryptionRequest): Promise<NodeDecryptionMaterial>
}

export type NodeGetEncryptionMaterials = NodeMaterialsManager['getEncryptionMaterials']
export type NodeGetDecryptMaterials = NodeMaterialsManager['decryptMaterials']

/** The usual CMM (framework/default-cmm.md): fresh materials from one keyring, a fresh signature key where the suite signs. */
export class NodeDefaultCryptographicMaterialsManager implements NodeMaterialsManager {
  readonly #keyring: KeyringNode

  constructor(keyring: KeyringNode) {
    if (!isKeyring(keyring)) throw new TypeError(`Unsupported type. A keyring is needed, got ${describe(keyring)}`)
    const unheard = HOOKS.find((name) => name in this)
    if (unheard) throw new TypeError(`"${unheard}" is not called: override getEncryptionMaterials or decryptMaterials`)
    this.#keyring = keyring
  }

  get keyring(): KeyringNode {
    return this.#keyring
  }

  async getEncryptionMaterials(request: NodeEncryptionRequest): Promise<NodeEncryptionMaterial> {
    const { encryptionContext, commitmentPolicy } = request
    checkCommitmentPolicy(commitmentPolicy)
    const suite = request.suite ?? getSuite(CommitmentPolicySuites[commitmentPolicy].defaultAlgorithmSuite)
    CommitmentPolicySuites.isEncryptEnabled(commitmentPolicy, suite)
    refusePublicKey(encryptionContext)
    // The pairs of now, whatever the caller does with its object meanwhile.
    const context = suite.signatureCurve ? copyContext(encryptionContext) : encryptionContext
    const signatureKey = suite.signatureCurve && (await SignatureKey.generate(suite.signatureCurve))
    const material = toEncrypt(suite, context, signatureKey, request.requiredEncryptionContextKeys)
    const filled = await fill(material, request.signal, () => this.#keyring.onEncrypt(material))
    // Here already: a manager around this one may keep them. What is no such material is for the client to refuse.
    return filled instanceof NodeEncryptionMaterial ? checkComplete(filled) : filled
  }

  async decryptMaterials(request: NodeDecryptionRequest): Promise<NodeDecryptionMaterial> {
    const { suite, encryptionContext, encryptedDataKeys, reproducedEncryptionContext } = request
    const material = toDecrypt(suite, encryptionContext, reproducedEncryptionContext)
    try {
      await fill(material, request.signal, () => this.#keyring.onDecrypt(material, [...encryptedDataKeys]))
    } catch (error) {
      throw tellKeys(error, encryptedDataKeys)
    }
    if (!material.hasValidKey()) throw noDataKey(encryptedDataKeys, material.failures)
    return material
  }
}
/** What `@aws-crypto/client-node` calls of a subclass: a pair that one adds there must not be left out in silence. */
const HOOKS = ['_initializeEncryptionMaterial', '_initializeDecryptionMaterial'] as const
Object.freeze(NodeDefaultCryptographicMaterialsManager)
Object.freeze(NodeDefaultCryptographicMaterialsManager.prototype)

/** Whether encryption materials come from the default CMM itself: a subclass may count what is asked of it, or add to that. */
export function isDefaultManager({ getEncryptionMaterials }: NodeMaterialsManager): boolean {
  return getEncryptionMaterials === NodeDefaultCryptographicMaterialsManager.prototype.getEncryptionMaterials
}

/** A CMM as it is, or the default CMM around a keyring. Throws `TypeError` for anything else. */
export function toMaterialsManager(source: KeyringNode | NodeMaterialsManager): NodeMaterialsManager {
  if (isKeyring(source)) return new NodeDefaultCryptographicMaterialsManager(source)
  // One that only encrypts, or only decrypts, will do for that.
  const { getEncryptionMaterials, decryptMaterials } = (source ?? {}) as Partial<NodeMaterialsManager>
  if (typeof getEncryptionMaterials === 'function' || typeof decryptMaterials === 'function') return source
  throw new TypeError(`a keyring or cryptographic materials manager is needed, got ${describe(source)}`)
}

/**
 * Encryption materials from any CMM, checked: the right kind, allowed under the policy (again: a cache may have
 * answered), with a data key, an encrypted data key, and no more of them than `maxEncryptedDataKeys`.
 */
export async function requestEncryptionMaterials(
  cmm: NodeMaterialsManager,
  request: NodeEncryptionRequest,
  maxEncryptedDataKeys?: number,
): Promise<NodeEncryptionMaterial> {
  if (typeof cmm.getEncryptionMaterials !== 'function') throw lacks('getEncryptionMaterials')
  // Managers of others may add to the context; ours make a copy of their own.
  const own = isDefaultManager(cmm)
  const encryptionContext = own ? request.encryptionContext : { ...request.encryptionContext }
  const material = await cmm.getEncryptionMaterials(own ? request : { ...request, encryptionContext })
  if (!(material instanceof NodeEncryptionMaterial)) throw invalidMaterials('Unsupported type of material.')
  try {
    CommitmentPolicySuites.isEncryptEnabled(request.commitmentPolicy, material.suite)
    const count = checkComplete(material).encryptedDataKeys.length
    if (maxEncryptedDataKeys !== undefined && count > maxEncryptedDataKeys) {
      throw new SealwaxError('ERR_LIMIT_EXCEEDED', `maxEncryptedDataKeys exceeded. ${count} > ${maxEncryptedDataKeys}`)
    }
    return material
  } catch (error) {
    material.zeroUnencryptedDataKey()
    throw error
  }
}

/** Throws, and wipes the materials, where they lack a data key or an encrypted data key. */
function checkComplete(material: NodeEncryptionMaterial): NodeEncryptionMaterial {
  if (!material.hasValidKey())
    throw invalidMaterials(`unencryptedDataKey has not been set${wiped(material) || NONE_MADE}`)
  if (material.encryptedDataKeys.length > 0) return material
  material.zeroUnencryptedDataKey()
  throw invalidMaterials('No EncryptedDataKeys: the ciphertext can never be decrypted.')
}

/** Decryption materials from any CMM, checked: the right kind, for the suite asked, with a data key. */
export async function requestDecryptionMaterials(
  cmm: NodeMaterialsManager,
  request: NodeDecryptionRequest,
): Promise<NodeDecryptionMaterial> {
  if (typeof cmm.decryptMaterials !== 'function') throw lacks('decryptMaterials')
  const material = await cmm.decryptMaterials(request)
  if (!(material instanceof NodeDecryptionMaterial)) throw invalidMaterials('Unsupported material type.')
  if (!material.hasValidKey()) {
    const reason = wiped(material)
    if (reason) throw new SealwaxError('ERR_NO_DATA_KEY', `unencryptedDataKey has not been set${reason}`)
    throw noDataKey(request.encryptedDataKeys, material.failures)
  }
  if (material.suite.id !== request.suite.id) {
    material.zeroUnencryptedDataKey()
    throw invalidMaterials('the materials are for another algorithm suite than the message')
  }
  const { encryptionContext, reproducedEncryptionContext = {} } = request
  for (const [key, value] of Object.entries(reproducedEncryptionContext)) {
    if (Object.hasOwn(encryptionContext, key)) continue
    if (material.encryptionContext[key] === value && material.requiredEncryptionContextKeys.includes(key)) continue
    material.zeroUnencryptedDataKey()
    throw invalidMaterials(`the materials do not authenticate the reproduced pair ${JSON.stringify(key)}`)
  }
  return material
}

/** Throws `ERR_ENCRYPTION_CONTEXT` where a pair is stored with another value than it is reproduced with; gives the keys of those not stored. */
export function checkReproduced(
  encryptionContext: Readonly<EncryptionContext>,
  reproduced: Readonly<EncryptionContext>,
): string[] {
  const keys = Object.keys(reproduced)
  const notStored = keys.filter((key) => !Object.hasOwn(encryptionContext, key))
  for (const key of keys) {
    if (notStored.includes(key) || encryptionContext[key] === reproduced[key]) continue
    throw new SealwaxError(
      'ERR_ENCRYPTION_CONTEXT',
      `the message's encryption context has another value for the required key ${JSON.stringify(key)}`,
    )
  }
  return notStored
}

/** Has a keyring fill materials; where it fails they are wiped, and where the message is given up it may stop. */
async function fill<M extends NodeEncryptionMaterial | NodeDecryptionMaterial>(
  material: M,
  signal: AbortSignal | undefined,
  keyring: () => Promise<M>,
): Promise<M> {
  const giveUp = () => abandon(material)
  if (signal?.aborted) giveUp()
  signal?.addEventListener('abort', giveUp)
  try {
    return await keyring()
  } catch (error) {
    material.zeroUnencryptedDataKey()
    throw error
  } finally {
    signal?.removeEventListener('abort', giveUp)
  }
}

/** By what it can do, not by its class: own keyrings need not extend {@link KeyringNode}. */
function isKeyring(source: unknown): source is KeyringNode {
  if (source instanceof KeyringNode) return true
  const { onEncrypt, onDecrypt } = (source ?? {}) as Partial<KeyringNode>
  return typeof onEncrypt === 'function' && typeof onDecrypt === 'function'
}

function toEncrypt(
  suite: NodeAlgorithmSuite,
  encryptionContext: EncryptionContext,
  signatureKey: SignatureKey | undefined,
  requiredKeys?: readonly string[],
): NodeEncryptionMaterial {
  if (!signatureKey) return new NodeEncryptionMaterial(suite, encryptionContext, requiredKeys)
  const publicKey = toBase64(signatureKey.compressPoint)
  const signed = withPair(encryptionContext, PUBLIC_KEY_FIELD, publicKey)
  return new NodeEncryptionMaterial(suite, signed, requiredKeys).setSignatureKey(signatureKey)
}

function toDecrypt(
  suite: NodeAlgorithmSuite,
  encryptionContext: EncryptionContext,
  reproduced: Readonly<EncryptionContext> = {},
): NodeDecryptionMaterial {
  const publicKey = Object.hasOwn(encryptionContext, PUBLIC_KEY_FIELD) ? encryptionContext[PUBLIC_KEY_FIELD] : undefined
  const notStored = checkReproduced(encryptionContext, reproduced)
  const context = notStored.length === 0 ? encryptionContext : { ...reproduced, ...encryptionContext }
  const material = new NodeDecryptionMaterial(suite, context, notStored)
  if (!suite.signatureCurve) {
    if (publicKey === undefined) return material
    throw malformed('Encryption context contains public verification key for unsigned algorithm suite.')
  }
  if (publicKey === undefined) throw malformed('Context does not contain required public key.')
  return material.setVerificationKey(VerificationKey.parse(suite.signatureCurve, publicKey))
}

function noDataKey(encryptedDataKeys: readonly EncryptedDataKey[], failures: readonly Error[]): SealwaxError {
  const said =
    failures.length === 0
      ? 'none of them belongs to this keyring'
      : [
          ...failures.slice(0, MAX_TOLD).map(({ message }) => message),
          ...(failures.length > MAX_TOLD ? ['…'] : []),
        ].join('; ')
  return new SealwaxError(
    'ERR_NO_DATA_KEY',
    `unencryptedDataKey has not been set. ${whoseKeys(encryptedDataKeys)}: ${said}`,
    { errors: failures },
  )
}

/** What a keyring says that could open none of them tells what it tried, and not what there was. */
function tellKeys(error: unknown, encryptedDataKeys: readonly EncryptedDataKey[]): unknown {
  if (!(error instanceof SealwaxError) || error.code !== 'ERR_NO_DATA_KEY') return error
  const { code, message, errors = [] } = error
  const cause = 'cause' in error && { cause: error.cause }
  return new SealwaxError(code, `${message} ${whoseKeys(encryptedDataKeys)}`, { errors, ...cause })
}

function whoseKeys(encryptedDataKeys: readonly EncryptedDataKey[]): string {
  const keys = encryptedDataKeys
    .slice(0, MAX_TOLD)
    .map(({ providerId, providerInfo }) => `${providerId}:${printable(providerInfo)}`)
  if (encryptedDataKeys.length > keys.length) keys.push('…')
  return `The message's encrypted data keys are for ${keys.join(', ')}`
}

/** How many keys, and how many failures, a message names. */
const MAX_TOLD = 10

/** The readable start of key provider info, which can be binary and of any length. */
function printable(info: string): string {
  return /^[\x20-\x7e]{0,200}/.exec(info)![0]
}

const NONE_MADE = ': the keyring made no data key. One that only decrypts, as for AWS KMS discovery, makes none'

/** Why there is no data key where there was one. */
function wiped({ keyringTrace }: NodeEncryptionMaterial | NodeDecryptionMaterial): string {
  return keyringTrace.length === 0
    ? ''
    : ': these materials were used before, and wiped. A manager gives new ones each time'
}

function lacks(method: string): TypeError {
  return new TypeError(`the cryptographic materials manager lacks ${method}`)
}
