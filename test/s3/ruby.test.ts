/**
 * Objects of the AWS SDK for Ruby open here, and ours there, through a real S3 protocol and the local KMS. Debian has
 * that SDK as `ruby-aws-sdk-s3` and `ruby-aws-sdk-kms`; its newest version writes and reads formats 1 and 2.
 */

import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from 'node:child_process'
import { createPublicKey } from 'node:crypto'
import { join } from 'node:path'
import { createInterface, type Interface } from 'node:readline'
import { CreateKeyCommand, KMS } from '@aws-sdk/client-kms'
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { Upload } from '@aws-sdk/lib-storage'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { startLocalKms } from '../../src/local-kms'
import {
  needsInstructionFile,
  openObject,
  S3EncryptionClient,
  type S3Keyring,
  S3KmsKeyring,
  S3RawAesKeyring,
  S3RawRsaKeyring,
  type SealObjectOptions,
  sealObject,
} from '../../src/s3'
import { rejects } from '../support/expect'
import { bytes, RSA_PRIVATE_PEM } from '../support/keys'
import { CREDENTIALS, startS3 } from '../support/s3-server'

type Kind = 'aes' | 'rsa' | 'kms'
interface Request {
  version: 1 | 2
  key: Kind
  name: string
  instructionFile?: boolean
  legacy?: boolean
  context?: Record<string, string>
  body?: string
}

const LENGTHS = [0, 1, 16, 1000]
const CONTEXT = { department: 'sales', 'caf\u00e9': '\u6771\u4eac', subject: '=?UTF-8?Q?Hello?=' }
const LEGACY = {
  commitmentPolicy: 'REQUIRE_ENCRYPT_ALLOW_DECRYPT',
  enableLegacyWrappingAlgorithms: true,
  enableLegacyUnauthenticatedModes: true,
} as const
const WRITE_V2 = { commitmentPolicy: 'FORBID_ENCRYPT_ALLOW_DECRYPT' } as const

async function main(): Promise<void> {
  const s3 = await startS3()
  const kms = await startLocalKms()
  const kmsClient = new KMS({ endpoint: kms.endpoint, region: 'us-east-1', credentials: CREDENTIALS })
  const { KeyMetadata } = await kmsClient.send(new CreateKeyCommand({}))
  const keyId = KeyMetadata!.Arn!
  const keyrings: Record<Kind, S3Keyring> = {
    aes: new S3RawAesKeyring({ wrappingKey: bytes(32) }),
    rsa: new S3RawRsaKeyring({ rsaKey: { publicKey: createPublicKey(RSA_PRIVATE_PEM), privateKey: RSA_PRIVATE_PEM } }),
    kms: new S3KmsKeyring({ keyId, clientProvider: () => kmsClient }),
  }
  const setup = {
    s3: s3.endpoint,
    kms: kms.endpoint,
    bucket: s3.bucket,
    keyId,
    aes: Buffer.from(bytes(32)).toString('base64'),
    rsa: RSA_PRIVATE_PEM,
  }

  const write = async (name: string, plaintext: Uint8Array, kind: Kind, options: SealObjectOptions) => {
    const { metadata, body, instructionFile } = await sealObject(plaintext, keyrings[kind], options)
    if (instructionFile) await put(`${name}.instruction`, instructionFile, { 'x-amz-crypto-instr-file': '' })
    await put(name, body, metadata)
  }
  const put = async (name: string, Body: Uint8Array, Metadata: Record<string, string>) =>
    void (await s3.client.send(new PutObjectCommand({ Bucket: s3.bucket, Key: name, Body, Metadata })))
  const read = async (name: string, kind: Kind, options: object) => {
    const { metadata, body } = await get(name)
    const instructionFile = needsInstructionFile(metadata) ? (await get(`${name}.instruction`)).body : undefined
    return await openObject({ metadata, body, instructionFile }, keyrings[kind], options)
  }
  const get = async (name: string) => {
    const { Body, Metadata = {} } = await s3.client.send(new GetObjectCommand({ Bucket: s3.bucket, Key: name }))
    return { metadata: Metadata, body: await Body!.transformToByteArray() }
  }

  for (const kind of ['aes', 'rsa', 'kms'] as const) {
    for (const instructionFile of [false, true]) {
      test(`version 3, ${kind}, instruction file ${instructionFile}: through S3 and back`, async () => {
        const plaintext = bytes(1000)
        const context = kind === 'kms' ? { encryptionContext: CONTEXT } : {}
        await write('own', plaintext, kind, { instructionFile, ...context })
        assert.equal(Buffer.from((await read('own', kind, context)).plaintext), Buffer.from(plaintext))
      })
    }
  }

  const ruby = await Ruby.start(setup)
  if (!ruby) {
    console.log(
      'SKIPPED ruby.test.ts: no Ruby with aws-sdk-s3 and aws-sdk-kms (Debian: ruby-aws-sdk-s3, ruby-aws-sdk-kms)',
    )
  } else {
    for (const kind of ['aes', 'rsa', 'kms'] as const) {
      for (const instructionFile of [false, true]) {
        const form = `${kind}, ${instructionFile ? 'instruction file' : 'metadata'}`
        test(`Ruby writes version 2, ${form}: it opens here`, async () => {
          for (const length of LENGTHS) {
            const plaintext = Buffer.from(bytes(length))
            await ruby.ok({ version: 2, key: kind, name: 'r2', instructionFile, body: plaintext.toString('base64') })
            const opened = await read('r2', kind, { commitmentPolicy: LEGACY.commitmentPolicy })
            assert.equal([Buffer.from(opened.plaintext), opened.formatVersion], [plaintext, 2])
            await rejects(read('r2', kind, {}), 'ERR_COMMITMENT_POLICY')
          }
        })

        test(`version 2, ${form}: Ruby opens it`, async () => {
          for (const length of LENGTHS) {
            const plaintext = Buffer.from(bytes(length))
            await write('o2', plaintext, kind, { ...WRITE_V2, instructionFile })
            const { body } = await ruby.ok({ version: 2, key: kind, name: 'o2', instructionFile })
            assert.is(body, plaintext.toString('base64'))
          }
        })

        test(`Ruby writes version 1, ${form}: it opens here, with both switches only`, async () => {
          for (const length of LENGTHS) {
            const plaintext = Buffer.from(bytes(length))
            await ruby.ok({ version: 1, key: kind, name: 'r1', instructionFile, body: plaintext.toString('base64') })
            const opened = await read('r1', kind, LEGACY)
            assert.equal(Buffer.from(opened.plaintext), plaintext)
            for (const off of ['enableLegacyWrappingAlgorithms', 'enableLegacyUnauthenticatedModes']) {
              await rejects(read('r1', kind, { ...LEGACY, [off]: false }), 'ERR_LEGACY_REFUSED')
            }
          }
        })

        if (kind === 'kms') continue
        test(`version 1, ${form}: both clients of Ruby open it`, async () => {
          for (const length of LENGTHS) {
            const plaintext = Buffer.from(bytes(length))
            await write('o1', plaintext, kind, { ...WRITE_V2, writeVersion1WithoutIntegrity: true, instructionFile })
            for (const version of [1, 2] as const) {
              const { body } = await ruby.ok({ version, key: kind, name: 'o1', instructionFile, legacy: true })
              assert.is(body, plaintext.toString('base64'))
            }
          }
        })
      }
    }

    test('an upload in parts, each sealed on its own: Ruby opens it', async () => {
      const MiB = 2 ** 20
      for (const [length, kind] of [
        [11 * MiB + 5, 'aes'],
        [10 * MiB, 'kms'],
      ] as const) {
        const client = new S3EncryptionClient(s3.config, { keyring: keyrings[kind], ...WRITE_V2 })
        const plaintext = Buffer.alloc(length, 'one of many parts')
        await new Upload({ client, params: { Bucket: s3.bucket, Key: 'parts', Body: plaintext } }).done()
        client.destroy()
        const { body } = await ruby.ok({ version: 2, key: kind, name: 'parts' })
        assert.ok(Buffer.from(body, 'base64').equals(plaintext))
      }
    })

    test('encryption contexts that are not ASCII: Ruby reads ours', async () => {
      const plaintext = Buffer.from(bytes(100))
      await write('context', plaintext, 'kms', { ...WRITE_V2, encryptionContext: CONTEXT })
      const request = { version: 2, key: 'kms', name: 'context' } as const
      assert.is((await ruby.ok({ ...request, context: CONTEXT })).body, plaintext.toString('base64'))
      assert.match((await ruby.ask({ ...request, context: { ...CONTEXT, a: 'b' } })).error, /does not match/)
    })

    test('encryption contexts of Ruby must be given', async () => {
      const context = { department: 'sales', b: 'a/c' }
      await ruby.ok({ version: 2, key: 'kms', name: 'context', context, body: 'aGVsbG8=' })
      const options = { commitmentPolicy: LEGACY.commitmentPolicy }
      const opened = await read('context', 'kms', { ...options, encryptionContext: context })
      assert.is(Buffer.from(opened.plaintext).toString(), 'hello')
      await rejects(read('context', 'kms', options), 'ERR_ENCRYPTION_CONTEXT')
    })

    test('Ruby refuses our object with one bit changed', async () => {
      await write('changed', bytes(100), 'aes', WRITE_V2)
      const { metadata, body } = await get('changed')
      await put('changed', body.with(50, body[50]! ^ 1), metadata)
      assert.not((await ruby.ask({ version: 2, key: 'aes', name: 'changed' })).ok)
    })
  }

  test('the servers end', async () => {
    ruby?.stop()
    kmsClient.destroy()
    await kms.close()
    await s3.close()
  })
  test.run()
}

interface Answer {
  ok: boolean
  body: string
  error: string
}

/** One Ruby process; requests one after the other. */
class Ruby {
  readonly #child: ChildProcessWithoutNullStreams
  readonly #lines: AsyncIterator<string>
  readonly #interface: Interface

  static async start(setup: object): Promise<Ruby | undefined> {
    const found = spawnSync('ruby', ['-e', 'require "aws-sdk-s3"; require "aws-sdk-kms"'])
    if (found.status !== 0) return undefined
    const ruby = new Ruby()
    await ruby.#exchange(setup)
    return ruby
  }

  private constructor() {
    this.#child = spawn('ruby', ['-W0', join(__dirname, 'ruby-client.rb')])
    this.#child.stderr.pipe(process.stderr)
    this.#interface = createInterface(this.#child.stdout)
    this.#lines = this.#interface[Symbol.asyncIterator]()
  }

  async ask(request: Request): Promise<Answer> {
    return (await this.#exchange(request)) as Answer
  }

  async ok(request: Request): Promise<Answer> {
    const answer = await this.ask(request)
    assert.ok(answer.ok, `Ruby: ${answer.error}`)
    return answer
  }

  stop(): void {
    this.#child.stdin.end()
    this.#interface.close()
  }

  async #exchange(message: object): Promise<unknown> {
    this.#child.stdin.write(`${JSON.stringify(message)}\n`)
    const { value, done } = await this.#lines.next()
    assert.not(done, 'Ruby ended')
    return JSON.parse(value)
  }
}

void main()
