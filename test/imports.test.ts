import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

// docs/design.md "Who may import whom". Same level only inside the same folder.
const LEVELS: Record<string, number> = {
  format: 1,
  engine: 2,
  materials: 3,
  keyrings: 4,
  message: 5,
  s3: 5,
  'local-kms': 5,
  cli: 6,
}
const PUBLIC_LISTS = ['index.ts', 's3.ts', 'pkcs11.ts', 'local-kms.ts', 'engine.ts']

const ALLOWED: Record<string, RegExp> = {
  'node:crypto': /^(engine|keyrings|materials|local-kms)\//,
  'node:stream': /^(message\/(streams|source|from-stream|random-access)\.ts|s3\/|cli\/)/,
  'node:stream/promises': /^(s3\/|cli\/)/,
  'node:fs': /^(cli\/|local-kms\/store\.ts|engine\/native\.ts|keyrings\/pkcs11-(host|pin|process)\.ts)/,
  'node:fs/promises': /^(cli\/|local-kms\/store\.ts|s3\/(temporary-file|target-file|journal)\.ts)/,
  'node:process': /^(cli\/|local-kms\/store\.ts|engine\/native\.ts|keyrings\/pkcs11-(host|pin|process)\.ts)/,
}

const src = join(__dirname, '../src')
const files = readdirSync(src, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))

for (const file of files) {
  test(`src/${file} imports only what its place allows`, () => {
    for (const target of importsOf(file)) {
      if (target.startsWith('.')) checkLocal(file, normalize(join(dirname(file), target)))
      else if (target in ALLOWED) assert.match(file, ALLOWED[target]!, `${target} is not for src/${file}`)
    }
  })
}

test('the process object is used only where the table allows', () => {
  for (const file of files) {
    if (!/\bprocess\./.test(readFileSync(join(src, file), 'utf8').replace(/^\s*(\/\/|\/?\*).*$/gm, ''))) continue
    assert.match(file, ALLOWED['node:process']!, `process is not for src/${file}`)
  }
})

test('files stay short enough to read', () => {
  for (const file of files) {
    assert.ok(readFileSync(join(src, file), 'utf8').split('\n').length <= 400, `src/${file} passes 400 lines`)
  }
})

// uvu calls a class as it calls any function, and what an error class returns is always true.
test('tests give the class of an error to `throws` of support/expect', () => {
  for (const file of readdirSync(__dirname, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.ts')) continue
    assert.not.match(readFileSync(join(__dirname, file), 'utf8'), /assert\.throws\(.*, \w*Error\)$/m, file)
  }
})

function importsOf(file: string): string[] {
  const text = readFileSync(join(src, file), 'utf8')
  // Types are erased: where only they are imported, no dependency remains.
  const code = text.replace(/^import type .*$/gm, (line) => (line.includes("'node:") ? '' : line))
  return [...code.matchAll(/(?:from|import\(|require\()\s*'([^']+)'/g)].map((match) => match[1]!)
}

function checkLocal(file: string, target: string): void {
  const from = levelOf(file)
  const to = levelOf(files.includes(`${target}.ts`) ? `${target}.ts` : `${target}/index.ts`)
  if (from.folder === 'cli') {
    const own = to.folder === 'cli' || PUBLIC_LISTS.includes(`${target}.ts`)
    assert.ok(own, `src/${file} imports src/${target}: cli goes through the public lists only`)
    return
  }
  // The engine knows the layout of frames and where a header has the fields of its message, nothing else of the formats.
  if (from.folder === 'engine' && to.folder === 'format') assert.match(target, /^format\/(frame|header-layout)$/)
  if (from.folder === 'local-kms') assert.is.not(to.folder, 'keyrings')
  if (from.folder === 'message' || from.folder === 's3')
    assert.is.not(to.folder, 'keyrings', `src/${file} imports ${target}`)
  const allowed = to.level < from.level || (to.level === from.level && to.folder === from.folder)
  assert.ok(allowed, `src/${file} (level ${from.level}) imports src/${target} (level ${to.level})`)
}

function levelOf(file: string): { folder: string; level: number } {
  if (PUBLIC_LISTS.includes(file)) return { folder: 'public', level: 6 }
  if (!file.includes('/')) return { folder: 'leaf', level: 0 }
  const folder = file.split('/')[0]!
  const level = LEVELS[folder]
  if (level === undefined) throw new Error(`src/${file} is in a folder that the table does not know`)
  return { folder, level }
}

test.run()
