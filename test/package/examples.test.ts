/** The examples run with the packed package, and do what they say. */
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import type * as Sealwax from '../../src/index'
import { FakeKms, keyArn } from '../support/kms'
import { PEER, pack, ROOT, run, scratchFolder, succeed, writeProject } from './support'

type Handler = (request: object, response: object, next: (error?: unknown) => void) => Promise<void>
type Event = { request: { code?: string; userAttributes: object } }

const project = scratchFolder()
writeProject(project, { dependencies: { sealwax: `file:${pack(project)}` } })
cpSync(join(ROOT, 'examples'), join(project, 'examples'), { recursive: true })
const peer = join('node_modules', PEER)
mkdirSync(dirname(join(project, peer)), { recursive: true })
symlinkSync(join(ROOT, peer), join(project, peer))
const sealwax: typeof Sealwax = require(join(project, 'node_modules/sealwax'))

const OUTPUTS: Record<string, string> = {
  'message.mjs': 'attack at dawn\n',
  'kms-two-regions.mjs': 'in two places: eu-central-1 and eu-west-1\n',
  'stream-file.mjs': 'the same length\n',
  'migrate.mjs': 'old messages, new reader\nnew messages, old reader\n',
}

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
    assert.is((await fetch(url, { method: 'POST', headers: { 'x-user': 'bob' } })).status, 500)
  } finally {
    server.closeAllConnections()
    server.close()
  }
})

test('every example is tested, and listed', () => {
  const names = readdirSync(join(ROOT, 'examples')).filter((name) => name.endsWith('.mjs'))
  const readme = readFileSync(join(ROOT, 'examples/README.md'), 'utf8')
  assert.equal(names.sort(), [...Object.keys(OUTPUTS), 'lambda.mjs', 'middleware.mjs'].sort())
  for (const name of names) assert.match(readme, `(${name})`)
})

async function load<T>(name: string): Promise<T> {
  return (await import(pathToFileURL(join(project, 'examples', name)).href)) as T
}

test.run()
