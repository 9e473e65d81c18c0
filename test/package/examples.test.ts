/** The examples run with the packed package, and do what they say. */
import { createCipheriv, randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type * as Sealwax from '../../src/index'
import type * as SealwaxS3 from '../../src/s3'
import { FakeKms, keyArn } from '../support/kms'
import { PIN, softHsm } from '../support/pkcs11'
import { startS3 } from '../support/s3-server'
import { PEER, pack, ROOT, run, scratchFolder, succeed, writeProject } from './support'

type Handler = (request: object, response: object, next: (error?: unknown) => void) => Promise<void>
type Event = { request: { code?: string; userAttributes: object } }

const project = scratchFolder()
writeProject(project, { dependencies: { sealwax: `file:${pack(project)}` } })
cpSync(join(ROOT, 'examples'), join(project, 'examples'), { recursive: true })
for (const name of [PEER, '@aws-sdk/client-s3', 'pkcs11js']) {
  const place = join(project, 'node_modules', name)
  mkdirSync(dirname(place), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules', name), place)
}
const sealwax: typeof Sealwax = require(join(project, 'node_modules/sealwax'))
const { S3KmsKeyring, sealObject }: typeof SealwaxS3 = require(join(project, 'node_modules/sealwax/dist/s3'))

const OUTPUTS: Record<string, string> = {
  'message.mjs': 'attack at dawn\n',
  'own-keyring.mjs': 'under a key of yours\n',
  'kms-two-regions.mjs': 'in two places: eu-central-1 and eu-west-1\n',
  'stream-file.mjs': 'the same length\n',
  'migrate.mjs': 'old messages, new reader\nnew messages, old reader\n',
}

const IMPORTED = ['lambda.mjs', 'middleware.mjs', 's3-download.mjs', 's3.mjs', 'ses-mail.mjs']

for (const [name, output] of Object.entries(OUTPUTS)) {
  test(name, () => {
    assert.is(succeed(run(process.execPath, [join('examples', name)], project)), output)
  })
}

test('lambda.mjs sends the code, once it is decrypted', async () => {
  const { senderOf } = await load<{ senderOf: (...args: unknown[]) => (event: Event) => Promise<Event> }>('lambda.mjs')
  const { clientProvider } = new FakeKms()
  const cognito = new sealwax.KmsKeyring({ generatorKeyId: keyArn('1'), clientProvider })
  const { FORBID_ENCRYPT_ALLOW_DECRYPT } = sealwax.CommitmentPolicy
  const { result } = await sealwax.buildClient(FORBID_ENCRYPT_ALLOW_DECRYPT).encrypt(cognito, '123456')
  const sent: unknown[] = []
  const handler = senderOf([keyArn('1')], async (_: unknown, code: unknown) => sent.push(code), clientProvider)
  await handler({ request: { code: result.toString('base64'), userAttributes: {} } })
  await handler({ request: { userAttributes: {} } })
  assert.equal(sent, ['123456'])
  // What a service that is away keeps from being sent is tried again; what is no message never is.
  const kms = new FakeKms()
  kms.intercept = () => {
    throw new Error('away')
  }
  const away = senderOf([keyArn('1')], async () => assert.unreachable(), kms.clientProvider)
  const outcome = (code: string) =>
    away({ request: { code, userAttributes: {} } }).then(
      () => 'given up',
      ({ code }) => code,
    )
  assert.is(await outcome(result.toString('base64')), 'ERR_NO_DATA_KEY')
  assert.is(await outcome('none'), 'given up')
  const unsent = senderOf([keyArn('1')], () => Promise.reject(new Error('no mail today')), clientProvider)
  const failing = unsent({ request: { code: result.toString('base64'), userAttributes: {} } })
  assert.is(await failing.catch(({ message }) => message), 'no mail today')
})

test('middleware.mjs gives a document to its user alone', async () => {
  const { sealedStore } = await load<{ sealedStore: (...args: unknown[]) => Handler }>('middleware.mjs')
  const stored = new Map<string, Buffer>()
  const keyring = new sealwax.RawAesKeyring({
    keyNamespace: 'n',
    keyName: 'k',
    unencryptedMasterKey: randomBytes(32),
    wrappingSuite: 0x78,
  })
  const save = async (id: string, bytes: Buffer) => void stored.set(id, bytes)
  const handle = sealedStore(keyring, { load: async (id: string) => stored.get(id), save })
  const server = createServer((request, response) => {
    void handle(request, response, () => response.writeHead(500).end())
  }).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/document`
  try {
    const put = await fetch(url, { method: 'PUT', body: 'of alice', headers: { 'x-user': 'alice' } })
    assert.is(put.status, 204)
    assert.not.ok(stored.get('/document')!.includes('of alice'))
    assert.is(await (await fetch(url, { headers: { 'x-user': 'alice' } })).text(), 'of alice')
    assert.is((await fetch(url, { headers: { 'x-user': 'bob' } })).status, 404)
    assert.is((await fetch(`${url}-that-is-not-there`, { headers: { 'x-user': 'bob' } })).status, 404)
    assert.is((await fetch(url, { method: 'POST', headers: { 'x-user': 'bob' } })).status, 500)
  } finally {
    server.closeAllConnections()
    server.close()
  }
})

test('s3.mjs brings back what it uploaded, which S3 has encrypted', async () => {
  const { uploadAndDownload } = await load<Record<string, (...args: unknown[]) => Promise<string>>>('s3.mjs')
  const s3 = await startS3()
  try {
    const { clientProvider } = new FakeKms()
    const keyring = new S3KmsKeyring({ keyId: keyArn('1'), clientProvider })
    const text = await uploadAndDownload!(s3.config, keyring, s3.bucket, 'figures')
    assert.is(text, 'figures')
    const { Body } = await s3.client.send(new GetObjectCommand({ Bucket: s3.bucket, Key: 'reports/2026.txt' }))
    assert.not.match(await Body!.transformToString('latin1'), 'figures')
  } finally {
    await s3.close()
  }
})

test('s3-download.mjs writes a file, and says how it was protected', async () => {
  const { download } = await load<Record<string, (...args: unknown[]) => Promise<void>>>('s3-download.mjs')
  const s3 = await startS3()
  try {
    const { clientProvider } = new FakeKms()
    const keyring = new S3KmsKeyring({ keyId: keyArn('1'), clientProvider })
    const { metadata, body } = await sealObject(Buffer.alloc(1_500_000, 'figures'), keyring)
    const object = { Bucket: s3.bucket, Key: 'large' }
    await s3.client.send(new PutObjectCommand({ ...object, Body: body, Metadata: metadata }))
    const file = join(project, 'large')
    const shown: string[] = []
    await download!(s3.config, keyring, object, file, undefined, (text: string) => shown.push(text))
    assert.equal(readFileSync(file), Buffer.alloc(1_500_000, 'figures'))
    assert.equal(shown.slice(-2), ['100 %', 'format 3, kms+context; in the store: none'])
  } finally {
    await s3.close()
  }
})

test('ses-mail.mjs reads mail as SES writes it', async () => {
  const { mailReader } = await load<{ mailReader: (...args: unknown[]) => (event: object) => Promise<void> }>(
    'ses-mail.mjs',
  )
  const s3 = await startS3()
  const { clientProvider } = new FakeKms()
  try {
    // By hand: data key of KMS, the context in the metadata, AES-256-GCM.
    const EncryptionContext = {
      'aws:ses:message-id': 'm1',
      'aws:ses:rule-name': 'r1',
      'aws:ses:source-account': '111122223333',
    }
    const request = { KeyId: keyArn('1'), NumberOfBytes: 32, EncryptionContext }
    const key = (await clientProvider('us-east-1').generateDataKey(request)) as Record<string, Uint8Array>
    const iv = randomBytes(12)
    const cipher = createCipheriv('aes-256-gcm', key.Plaintext!, iv)
    const sealed = Buffer.concat([cipher.update('Subject: hello'), cipher.final(), cipher.getAuthTag()])
    const Metadata = {
      'x-amz-key-v2': Buffer.from(key.CiphertextBlob!).toString('base64'),
      'x-amz-iv': iv.toString('base64'),
      'x-amz-matdesc': JSON.stringify(EncryptionContext),
      'x-amz-wrap-alg': 'kms',
      'x-amz-cek-alg': 'AES/GCM/NoPadding',
      'x-amz-tag-len': '128',
      'x-amz-unencrypted-content-length': '14',
    }
    await s3.client.send(new PutObjectCommand({ Bucket: s3.bucket, Key: 'in box/m1', Body: sealed, Metadata }))
    const mails: string[] = []
    const receive = async (mail: Uint8Array) => void mails.push(Buffer.from(mail).toString())
    const handler = mailReader(keyArn('1'), receive, s3.config, clientProvider)
    await handler({ Records: [{ s3: { bucket: { name: s3.bucket }, object: { key: 'in+box/m1' } } }] })
    assert.equal(mails, ['Subject: hello'])
  } finally {
    await s3.close()
  }
})

const hsm = softHsm('example')
if (hsm)
  test('hsm.mjs, twice: the key it made is there the second time', () => {
    const file = join(project, 'pin')
    writeFileSync(file, PIN, { mode: 0o600 })
    for (let i = 0; i < 2; i++) {
      const { stdout, stderr } = run(process.execPath, ['examples/hsm.mjs', hsm.input.module, 'example', file], project)
      assert.is(stdout, 'known to the token alone\n', stderr)
    }
  })

test('every example is tested, and listed', () => {
  const names = readdirSync(join(ROOT, 'examples')).filter((name) => name.endsWith('.mjs'))
  const readme = readFileSync(join(ROOT, 'examples/README.md'), 'utf8')
  assert.equal(names.sort(), [...Object.keys(OUTPUTS), ...IMPORTED, 'hsm.mjs'].sort())
  for (const name of names) assert.match(readme, `(${name})`)
})

async function load<T>(name: string): Promise<T> {
  return (await import(pathToFileURL(join(project, 'examples', name)).href)) as T
}

test.run()
