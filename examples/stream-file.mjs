// A file of any length, in bounded memory. `node examples/stream-file.mjs [file]`
import { createReadStream, createWriteStream } from 'node:fs'
import { mkdtemp, rename, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { fileURLToPath } from 'node:url'
import { buildClient, RawAesKeyring, RawAesWrappingSuiteIdentifier } from 'sealwax'

const client = buildClient()
const keyring = new RawAesKeyring({
  keyNamespace: 'my-app',
  keyName: 'files',
  unencryptedMasterKey: crypto.getRandomValues(new Uint8Array(32)),
  wrappingSuite: RawAesWrappingSuiteIdentifier.AES256_GCM_IV12_TAG16_NO_PADDING,
})
const file = process.argv[2] ?? fileURLToPath(import.meta.url)
const folder = await mkdtemp(join(tmpdir(), 'stream-file-'))
const sealed = join(folder, 'sealed')
const copy = join(folder, 'copy')

await pipeline(createReadStream(file), client.encryptStream(keyring), createWriteStream(sealed))

// What a stream gave is provisional until it has ended well: it gets its name only then.
await pipeline(createReadStream(sealed), client.decryptStream(keyring), createWriteStream(`${copy}.part`))
await rename(`${copy}.part`, copy)

console.log((await stat(copy)).size === (await stat(file)).size ? 'the same length' : 'something is wrong')
await rm(folder, { recursive: true })
