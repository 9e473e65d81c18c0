/** Fragments of TypeScript on the pages compile. What a page has told before stands in {@link KNOWN}, so that it need not be said again. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ROOT, run } from './support'

const KNOWN = `
import type { S3Client as KnownClient } from '@aws-sdk/client-s3'
import type { Keyring as KnownKeyring, EncryptionContext as KnownContext } from 'sealwax'
import type { SegmentHash as KnownHash } from 'sealwax/engine'
import type { Pkcs11Token as KnownToken } from 'sealwax/pkcs11'
import type { S3Keyring as KnownS3Keyring } from 'sealwax/s3'
declare const client: KnownClient, keyring: KnownKeyring, token: KnownToken
declare const from: KnownS3Keyring, to: KnownS3Keyring, onProgress: () => void, show: (part: number, all?: number) => void
declare const Bucket: string, Key: string, Prefix: string, UploadId: string, EncryptionContext: KnownContext
declare const path: string, oldKeyArn: string, newKeyArn: string, i: number, hashes: KnownHash[]
declare const message: Uint8Array, key: Uint8Array, iv: Uint8Array, aad: Uint8Array
declare const plaintext: Uint8Array, ciphertext: Uint8Array
`
const MODULES = { sealwax: 'index', 'sealwax/engine': 'engine', 'sealwax/s3': 's3', 'sealwax/pkcs11': 'pkcs11' }
// Inside the package, so that `from 'sealwax'` means this very build.
const folder = join(ROOT, 'build/snippets')
rmSync(folder, { recursive: true, force: true })
mkdirSync(folder, { recursive: true })

let count = 0
for (const page of ['README.md', ...readdirSync(join(ROOT, 'docs')).map((name) => `docs/${name}`)]) {
  if (!page.endsWith('.md')) continue
  const text = readFileSync(join(ROOT, page), 'utf8')
  for (const [, block] of text.matchAll(/^```ts\n([\s\S]*?)^```$/gm)) {
    count++
    writeFileSync(join(folder, `${page.replace(/\W/g, '-')}-${count}.ts`), programOf(block!))
  }
}

test(`${count} fragments compile`, () => {
  assert.ok(count > 10)
  const options = {
    strict: true,
    noEmit: true,
    module: 'nodenext',
    target: 'es2023',
    skipLibCheck: true,
    types: ['node'],
  }
  writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions: options, include: ['*.ts'] }))
  const { status, stdout } = run(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-p', folder])
  assert.is(status, 0, stdout)
})

/** Its imports, with those of ours that it leaves out, and the rest where its names may be those of {@link KNOWN}. */
function programOf(block: string): string {
  const imports = /^import [\s\S]*? from '[^']*'$/gm
  const own = block.match(imports)?.join('\n') ?? ''
  const rest = block.replace(imports, '')
  const more = Object.entries({ ...ours(), 'node:fs': ['createReadStream'] }).map(([module, names]) => {
    const used = names.filter(
      (name) => new RegExp(`\\b${name}\\b`).test(rest) && !new RegExp(`\\b${name}\\b`).test(own),
    )
    const declared = used.filter((name) => !new RegExp(`(const|let|[{,]) ${name}\\b.*=`).test(rest))
    return declared.length > 0 ? `import { ${declared.join(', ')} } from '${module}'` : ''
  })
  return `${KNOWN}\n${more.join('\n')}\n${own}\nexport async function fragment(): Promise<void> {\n${rest}}\n`
}

/** What each of our modules exports at run time, each name by the first that has it. */
function ours(): Record<string, string[]> {
  const seen = new Set<string>(['decrypt', 'encrypt'])
  return Object.fromEntries(
    Object.entries(MODULES).map(([module, file]) => {
      const names = Object.keys(require(join(ROOT, 'dist', file)) as object).filter((name) => !seen.has(name))
      for (const name of names) seen.add(name)
      return [module, names]
    }),
  )
}

test.run()
