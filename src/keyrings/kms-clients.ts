import type { KMSClientConfig, KMS as SdkKms } from '@aws-sdk/client-kms'
import { describe } from '../options'

/** What keyrings ask of KMS; the fields are those of the AWS KMS API. */
export interface KmsRequest {
  KeyId: string
  EncryptionContext: Record<string, string>
  GrantTokens?: string[]
}

/** What KMS answers; keyrings check every field before they use it. */
export interface KmsAnswer {
  KeyId?: unknown
  Plaintext?: unknown
  CiphertextBlob?: unknown
}

/** A promise, or a request of the AWS SDK version 2. */
export type KmsReply = Promise<KmsAnswer> | { promise(): Promise<KmsAnswer>; abort?(): void }

/** The signal fires at the deadline of a call; clients that ignore it are not waited for. */
export interface KmsCallOptions {
  abortSignal?: AbortSignal
}

/** The part of an AWS KMS client that keyrings use: the SDK's `KMS` class, or any object with these methods. */
export interface KmsClient {
  generateDataKey(input: KmsRequest & { NumberOfBytes: number }, options?: KmsCallOptions): KmsReply
  encrypt(input: KmsRequest & { Plaintext: Uint8Array }, options?: KmsCallOptions): KmsReply
  decrypt(input: KmsRequest & { CiphertextBlob: Uint8Array }, options?: KmsCallOptions): KmsReply
}

/** Gives the client for a Region, or `false` where keys of that Region are not to be used. An empty Region is the default one. */
export type KmsClientSupplier<Client extends KmsClient> = (region: string) => Client | false
export type KmsNodeClientSupplier = KmsClientSupplier<KmsClient>

/** A class of KMS clients. */
export type KmsConstructible<Client extends KmsClient, Config> = new (config: Config) => Client
export type KMSNodeConstructible = KmsConstructible<SdkKms, KMSClientConfig>

/** The `KMS` class of `@aws-sdk/client-kms`, loaded when it is first used: importing this package loads no SDK. */
export const KMS: typeof SdkKms = new Proxy(function KMS() {} as unknown as typeof SdkKms, {
  get: (_, property) => Reflect.get(kmsSdk().KMS, property),
  has: (_, property) => Reflect.has(kmsSdk().KMS, property),
  construct: (_, args, target) => Reflect.construct(kmsSdk().KMS, args, target === KMS ? kmsSdk().KMS : target),
})

export type KMS = SdkKms

/** The one place that loads `@aws-sdk/client-kms`. */
export function kmsSdk(): typeof import('@aws-sdk/client-kms') {
  return require('@aws-sdk/client-kms')
}

/**
 * A supplier that makes a new client at every call, of `KMSClient` with `defaultConfig` and the Region asked for. Clients of
 * the SDK, version 3, then refuse answers of more than 64 KiB.
 */
export function getClient<Client extends KmsClient, Config extends object>(
  KMSClient: KmsConstructible<Client, Config>,
  defaultConfig?: Config,
): KmsClientSupplier<Client> {
  return (region) => {
    const client = new KMSClient({ ...defaultConfig, ...(region && { region }) } as Config)
    const { config } = client as { config?: { region?: unknown } }
    if (!config?.region) throw new TypeError('A region is required: the KMS client has none')
    limitAnswers(client)
    return client
  }
}

/** Only clients of these Regions. */
export function limitRegions<Client extends KmsClient>(
  regions: string[],
  getClient: KmsClientSupplier<Client>,
): KmsClientSupplier<Client> {
  const allowed = new Set(checkRegions(regions, 'Can only limit on region strings'))
  return (region) => allowed.has(region) && getClient(region)
}

/** No clients of these Regions. */
export function excludeRegions<Client extends KmsClient>(
  regions: string[],
  getClient: KmsClientSupplier<Client>,
): KmsClientSupplier<Client> {
  const excluded = new Set(checkRegions(regions, 'Can only exclude on region strings'))
  return (region) => !excluded.has(region) && getClient(region)
}

/**
 * One client for each Region, made when it is first asked for. At most 64 are kept, those used last: in discovery mode
 * the Regions come out of messages, and must not fill the memory.
 */
export function cacheClients<Client extends KmsClient>(
  getClient: KmsClientSupplier<Client>,
): KmsClientSupplier<Client> {
  const clients = new Map<string, Client | false>()
  return (region) => {
    const client = clients.get(region) ?? getClient(region)
    clients.delete(region)
    clients.set(region, client)
    if (clients.size > MAX_CLIENTS) clients.delete(clients.keys().next().value!)
    return client
  }
}

const MAX_CLIENTS = 64

/** Makes a `KMS` client of the AWS SDK, with the SDK's own credentials, retries and default Region. */
export const getKmsClient: KmsClientSupplier<SdkKms> = getClient<SdkKms, KMSClientConfig>(KMS, {
  customUserAgent: 'Sealwax',
  // A Region that cannot be reached should soon make way for the next one.
  requestHandler: { connectionTimeout: 1000 },
})

/** {@link getKmsClient}, one client for each Region: the default of KMS keyrings. */
export const cacheKmsClients: KmsClientSupplier<SdkKms> = cacheClients(getKmsClient)

/** Checks a client that a caller passed. */
export function checkKmsClient<Client extends KmsClient>(value: Client | undefined): Client {
  if (!value) throw new TypeError(`An AWS SDK client is required, got ${describe(value)}`)
  // Those of test programs often have just the one that is called.
  if (METHODS.some((method) => typeof value[method] === 'function')) return value
  throw new TypeError(
    `the KMS client must have the methods ${METHODS.join(', ')}, as the KMS class of @aws-sdk/client-kms has and KMSClient has not`,
  )
}

const METHODS = ['generateDataKey', 'encrypt', 'decrypt'] as const

/** The SDK reads whatever comes into memory. An answer that KMS cannot have given ends here, and its connection with it. */
function limitAnswers(client: object): void {
  const { middlewareStack } = client as { middlewareStack?: SdkKms['middlewareStack'] }
  middlewareStack?.add(
    (next) => async (args) => {
      const result = await next(args)
      const response = result.response as { body?: unknown }
      response.body = await readAnswer(response.body)
      return result
    },
    { name: 'sealwaxAnswerLimit', step: 'deserialize', priority: 'low', override: true },
  )
}

async function readAnswer(body: unknown): Promise<unknown> {
  if (typeof body !== 'object' || body === null || !(Symbol.asyncIterator in body)) return body
  const chunks: Uint8Array[] = []
  let length = 0
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    length += chunk.length
    // Leaving the loop destroys the stream.
    if (length > MAX_ANSWER_LENGTH) throw new RangeError(`the answer is longer than ${MAX_ANSWER_LENGTH} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

const MAX_ANSWER_LENGTH = 65_536

function checkRegions(regions: unknown, problem: string): string[] {
  if (Array.isArray(regions) && regions.every((region) => typeof region === 'string' && region !== '')) return regions
  throw new TypeError(problem)
}
