import type { Duplex } from 'node:stream'
import type { NodeMaterialsManager } from '../materials/cmm'
import type { KeyringNode } from '../materials/keyring'
import { checkInteger, checkOptions } from '../options'
import { CommitmentPolicy, checkCommitmentPolicy, SignaturePolicy } from '../policies'
import { type DecryptInput, type DecryptOutput, decrypt, decryptInto } from './decrypt'
import { type EncryptInput, type EncryptOutput, encrypt, encryptInto } from './encrypt'
import { decryptFromStream, encryptFromStream } from './from-stream'
import { type DecryptManyInput, decryptMany, type EncryptManyInput, encryptMany } from './many'
import type { OutputMemory } from './output'
import { type OpenedMessage, type OpenMessageInput, openMessage, type RandomAccessSource } from './random-access'
import { hasBytes, type MessageSource } from './source'
import { type DecryptStreamInput, decryptStream, type EncryptStreamInput, encryptStream } from './streams'

/** What holds for every message of a client. */
export interface ClientOptions {
  /** Which suites to write and read. Default: `REQUIRE_ENCRYPT_REQUIRE_DECRYPT`. */
  commitmentPolicy: CommitmentPolicy
  /** Refuse to write or read a message with more encrypted data keys. Default: `false`, the format's own limit. */
  maxEncryptedDataKeys: number | false
}

export interface EncryptClient {
  /**
   * Encrypts `plaintext` as one message. Resolves when all of it is sealed; the result is the caller's.
   *
   * `cmm` is a keyring or a cryptographic materials manager. `plaintext` is read, never written or kept; do not change
   * it before the promise settles.
   *
   * Rejects with `TypeError`/`RangeError` for wrong options, {@link SealwaxError} for the rest; keyring errors pass unchanged.
   *
   * @example
   * const { result } = await client.encrypt(keyring, 'attack at dawn', { encryptionContext: { purpose: 'demo' } })
   */
  encrypt(cmm: KeyringNode | NodeMaterialsManager, plaintext: MessageSource, op?: EncryptInput): Promise<EncryptOutput>

  /**
   * As `encrypt`, into memory of the caller's: `result` is the filled start of `output`, and what lies behind it is not
   * defined. Saves a large message its fresh pages, which cost about as much as the cipher.
   *
   * How long a message gets depends on the keyring: give a function, which is called once with the most bytes that it
   * can take and returns memory for them, or enough memory. `RangeError` says how much it must be; so does memory that
   * overlaps the plaintext. Memory that is shared with other threads, resizable or detached is a `TypeError`.
   *
   * @example
   * const memory = Buffer.allocUnsafeSlow(80_000_000)
   * const { result } = await client.encryptInto(keyring, plaintext, memory)
   */
  encryptInto(
    cmm: KeyringNode | NodeMaterialsManager,
    plaintext: MessageSource,
    output: OutputMemory,
    op?: EncryptInput,
  ): Promise<EncryptOutput>

  /**
   * Encrypts many plaintexts, each as a message of its own, some times faster than as many calls of `encrypt`. Resolves to
   * one result for each, in their order and in the shape of `Promise.allSettled`: a record that fails fails alone. Rejects
   * only for wrong options, and with `ERR_ABORTED`.
   *
   * With a keyring, suites that derive keys use one data key, one set of encrypted data keys and one signature key for the
   * whole call; each message has a message ID of its own, and so a key of its own. With a caching or other materials
   * manager each record asks it for materials, so that its limits hold exactly. The messages of a call share memory:
   * copy what is to be kept long.
   *
   * @example
   * const [one] = await client.encryptMany(keyring, ['one', 'two'])
   * if (one.status === 'fulfilled') store(one.value.result)
   */
  encryptMany(
    cmm: KeyringNode | NodeMaterialsManager,
    plaintexts: readonly (Uint8Array | string)[],
    op?: EncryptManyInput,
  ): Promise<PromiseSettledResult<EncryptOutput>[]>

  /**
   * A stream that takes plaintext and gives the message. Emits `MessageHeader` once, before any data. Memory is bounded
   * whatever the length: at most some batches of 1 MiB and three frames. A chunk is read before its write callback.
   *
   * Wrong options throw at the call; everything else is one `error` event. Destroying the stream at any point, or
   * aborting its `signal`, wipes its keys.
   *
   * @example
   * await pipeline(createReadStream('a'), client.encryptStream(keyring), createWriteStream('a.sealed'))
   */
  encryptStream(cmm: KeyringNode | NodeMaterialsManager, op?: EncryptStreamInput): Duplex
}

export interface DecryptClient {
  /**
   * Decrypts one message. Resolves when all of it is authenticated, down to the signature and the last byte; on any
   * failure nothing of the plaintext is released.
   *
   * @example
   * const { plaintext, messageHeader } = await client.decrypt(keyring, result, { encryptionContext: { purpose: 'demo' } })
   */
  decrypt(cmm: KeyringNode | NodeMaterialsManager, ciphertext: MessageSource, op?: DecryptInput): Promise<DecryptOutput>

  /**
   * As `decrypt`, into memory of the caller's, as `encryptInto` does it: `plaintext` is the filled start of `output`.
   * As many bytes as the message has ciphertext are always enough.
   *
   * Do not look at `output` before the promise settles: it fills frame by frame. When it rejects, no plaintext is left
   * there; transfer `output` meanwhile, and whoever has it then has what was authenticated so far.
   *
   * @example
   * const { plaintext } = await client.decryptInto(keyring, message, (length) => memory.subarray(0, length))
   */
  decryptInto(
    cmm: KeyringNode | NodeMaterialsManager,
    ciphertext: MessageSource,
    output: OutputMemory,
    op?: DecryptInput,
  ): Promise<DecryptOutput>

  /**
   * Decrypts many messages. Resolves to one result for each, in their order and in the shape of `Promise.allSettled`:
   * nothing of a record that fails is released, and it fails alone. Rejects only for wrong options, and with `ERR_ABORTED`.
   *
   * Messages that one call of `encryptMany` made with a keyring have the same encrypted data keys: one unwrap serves them
   * all, and where it fails, all of them fail with its error. The plaintexts of a call share memory.
   *
   * @example
   * const [one] = await client.decryptMany(keyring, messages)
   * if (one.status === 'fulfilled') use(one.value.plaintext)
   */
  decryptMany(
    cmm: KeyringNode | NodeMaterialsManager,
    ciphertexts: readonly (Uint8Array | string)[],
    op?: DecryptManyInput,
  ): Promise<PromiseSettledResult<DecryptOutput>[]>

  /**
   * A stream that takes a message and gives plaintext, each frame once it is authenticated. Emits `MessageHeader` once,
   * when the header is authenticated and before any data.
   *
   * Treat what a stream gave as provisional until it ends well: only then is a message known to be whole. The last frame
   * of a signed message is held back until the signature is verified.
   *
   * @example
   * await pipeline(createReadStream('a.sealed'), client.decryptStream(keyring), createWriteStream('a'))
   */
  decryptStream(cmm: KeyringNode | NodeMaterialsManager, op?: DecryptStreamInput): Duplex

  /** As `decryptStream`, but refuses signed messages (`ERR_SIGNATURE_POLICY`), whose frames would come before the signature. */
  decryptUnsignedMessageStream(cmm: KeyringNode | NodeMaterialsManager, op?: DecryptStreamInput): Duplex

  /**
   * Opens a framed message for reading from the middle: from a Buffer, a `FileHandle` or `{ length, read }`. Touches the
   * header and the final frame now, and later only the frames that are asked for.
   *
   * @example
   * const file = await open('video.sealed')
   * const message = await client.openMessage(keyring, file)
   * const piece = await message.read(1_000_000, 4096)
   * message.close()
   * await file.close()
   */
  openMessage(
    cmm: KeyringNode | NodeMaterialsManager,
    message: RandomAccessSource,
    op?: OpenMessageInput,
  ): Promise<OpenedMessage>
}

/**
 * A client with the given policy; all its functions can be used on their own.
 *
 * @example
 * const { encrypt, decrypt } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
 */
export function buildClient(options?: CommitmentPolicy | Partial<ClientOptions>): EncryptClient & DecryptClient {
  return Object.freeze({ ...buildEncrypt(options), ...buildDecrypt(options) })
}

/** The encrypting half of {@link buildClient}. */
export function buildEncrypt(options?: CommitmentPolicy | Partial<ClientOptions>): EncryptClient {
  const client = checkClientOptions(options)
  return Object.freeze<EncryptClient>({
    encrypt: (cmm, plaintext, op) =>
      hasBytes(plaintext) ? encrypt(client, cmm, plaintext, op) : encryptFromStream(client, cmm, plaintext, op),
    encryptInto: (cmm, plaintext, output, op) => encryptInto(client, cmm, plaintext, output, op),
    encryptMany: (cmm, plaintexts, op) => encryptMany(client, cmm, plaintexts, op),
    encryptStream: (cmm, op) => encryptStream(client, cmm, op),
  })
}

/** The decrypting half of {@link buildClient}. */
export function buildDecrypt(options?: CommitmentPolicy | Partial<ClientOptions>): DecryptClient {
  const client = checkClientOptions(options)
  return Object.freeze<DecryptClient>({
    decrypt: (cmm, ciphertext, op) =>
      hasBytes(ciphertext) ? decrypt(client, cmm, ciphertext, op) : decryptFromStream(client, cmm, ciphertext, op),
    decryptInto: (cmm, ciphertext, output, op) => decryptInto(client, cmm, ciphertext, output, op),
    decryptMany: (cmm, ciphertexts, op) => decryptMany(client, cmm, ciphertexts, op),
    decryptStream: (cmm, op) => decryptStream(client, cmm, SignaturePolicy.ALLOW_ENCRYPT_ALLOW_DECRYPT, op),
    decryptUnsignedMessageStream: (cmm, op) =>
      decryptStream(client, cmm, SignaturePolicy.ALLOW_ENCRYPT_FORBID_DECRYPT, op),
    openMessage: (cmm, message, op) => openMessage(client, cmm, message, op),
  })
}

function checkClientOptions(options: CommitmentPolicy | Partial<ClientOptions> = {}): Readonly<ClientOptions> {
  const given = typeof options === 'string' ? { commitmentPolicy: options } : options
  const { commitmentPolicy = CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT, maxEncryptedDataKeys = false } =
    checkOptions<Partial<ClientOptions>>(given, ['commitmentPolicy', 'maxEncryptedDataKeys'], 'buildClient')
  checkCommitmentPolicy(commitmentPolicy)
  if (maxEncryptedDataKeys !== false) {
    if (typeof maxEncryptedDataKeys === 'number' && maxEncryptedDataKeys < 1) {
      throw new RangeError(`Invalid maxEncryptedDataKeys value. It must be at least 1, got ${maxEncryptedDataKeys}`)
    }
    checkInteger(maxEncryptedDataKeys, 'maxEncryptedDataKeys', 1, Number.MAX_SAFE_INTEGER)
  }
  return Object.freeze({ commitmentPolicy, maxEncryptedDataKeys })
}
