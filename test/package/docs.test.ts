import { execFile, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = join(__dirname, '../..')
const pages = [
  'README.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'examples/README.md',
  ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`),
].filter((name) => name.endsWith('.md'))
// Inside the package, so that `import 'sealwax'` means this very build.
const scratch = join(root, 'build/docs')
rmSync(scratch, { recursive: true, force: true })
mkdirSync(scratch, { recursive: true })

for (const page of pages) {
  const text = readFileSync(join(root, page), 'utf8')

  // Blocks marked js are whole programs, which print what follows their `// =>`; those marked ts or text are fragments.
  for (const [index, block] of [...text.matchAll(/^```js\n([\s\S]*?)^```$/gm)].entries()) {
    test(`${page}: program ${index + 1} runs`, () => {
      const file = join(scratch, `${page.replace(/\W/g, '-')}-${index}.mjs`)
      writeFileSync(file, block[1]!)
      const { status, stdout, stderr } = spawnSync(process.execPath, [file], {
        cwd: scratch,
        encoding: 'utf8',
        timeout: 600_000,
      })
      assert.is(status, 0, stderr)
      const told = [...block[1]!.matchAll(/\/\/ => (.*)\n/g)].map(([, line]) => `${line}\n`)
      if (told.length > 0) assert.is(stdout, told.join(''))
    })
  }

  test(`${page}: each row of a table has as many cells as its head`, () => {
    for (const [table] of text.matchAll(/(?:^\|.*\n)+/gm)) {
      // Also in code, a bar that is not escaped ends a cell.
      const [head, ...rows] = table
        .trimEnd()
        .split('\n')
        .map((row) => row.split(/(?<!\\)\|/).length)
      for (const row of rows) assert.is(row, head, table)
    }
  })

  test(`${page}: its links lead somewhere`, () => {
    for (const [, target, anchor] of text.matchAll(/\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)/g)) {
      const file = target ? join(root, dirname(page), target) : join(root, page)
      assert.ok(existsSync(file), `${page} links to ${target}`)
      if (anchor)
        assert.ok(anchorsOf(readFileSync(file, 'utf8')).includes(anchor), `${page} links to ${target}#${anchor}`)
    }
  })
}

test('the index lists every page', () => {
  const index = readFileSync(join(root, 'docs/README.md'), 'utf8')
  for (const page of readdirSync(join(root, 'docs')))
    if (page.endsWith('.md') && page !== 'README.md') assert.match(index, `(${page})`)
})

test('the guide lists every code of an error, and no other', () => {
  const codes = /type SealwaxErrorCode =([\s\S]*?)\n\n/.exec(readFileSync(join(root, 'src/errors.ts'), 'utf8'))![1]!
  const guide = readFileSync(join(root, 'docs/guide.md'), 'utf8')
  const listed = [...guide.matchAll(/^\| `(ERR_\w+)` \|/gm)].map(([, code]) => code!)
  assert.equal(listed.sort(), [...codes.matchAll(/'(ERR_\w+)'/g)].map(([, code]) => code!).sort())
})

test('the API reference is made without a warning', () => {
  const { status, stdout, stderr } = spawnSync('npm', ['run', 'docs:api'], { cwd: root, encoding: 'utf8' })
  if (/npm error (code )?E(NOTFOUND|AI_AGAIN|404|ONNREFUSED)/.test(stderr))
    return console.log('SKIPPED the API reference: typedoc cannot be installed here')
  assert.is(status, 0, stdout + stderr)
  for (const page of ['modules/index.html', 'modules/s3.html'])
    assert.ok(existsSync(join(root, 'build/api', page)), page)
})

/** As GitHub names headings. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

test('scripts/links.mjs tells which pages outside do not answer', async () => {
  const server = createServer((request, response) => {
    response.writeHead(request.url === '/there' ? 200 : 404).end()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const at = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const run = (text: string) => {
    writeFileSync(join(scratch, 'links.md'), text)
    const args = [join(root, 'scripts/links.mjs'), join(scratch, 'links.md')]
    return new Promise<[code: unknown, output: string]>((resolve) => {
      execFile(process.execPath, args, (error, stdout) => resolve([error?.code ?? 0, stdout]))
    })
  }
  try {
    assert.equal(await run(`[a](${at}/there) [b](${at}/there) [c](inside.md)`), [
      0,
      `ok   ${at}/there\n1 links, 0 do not answer\n`,
    ])
    const [code, output] = await run(`[a](${at}/there) [b](${at}/gone) [c](http://127.0.0.1:1/)`)
    assert.is(code, 1)
    assert.match(output, `FAIL ${at}/gone: 404`)
    assert.match(output, '3 links, 2 do not answer')
  } finally {
    server.close()
  }
})

test.run()
