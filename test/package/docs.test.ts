import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'

const root = join(__dirname, '../..')
const pages = [
  'README.md',
  'SECURITY.md',
  'CHANGELOG.md',
  ...readdirSync(join(root, 'docs')).map((name) => `docs/${name}`),
].filter((name) => name.endsWith('.md'))
// Inside the package, so that `import 'sealwax'` means this very build.
const scratch = join(root, 'build/docs')
rmSync(scratch, { recursive: true, force: true })
mkdirSync(scratch, { recursive: true })

for (const page of pages) {
  const text = readFileSync(join(root, page), 'utf8')

  // Blocks marked js are whole programs; those marked ts or text are fragments.
  for (const [index, block] of [...text.matchAll(/^```js\n([\s\S]*?)^```$/gm)].entries()) {
    test(`${page}: program ${index + 1} runs`, () => {
      const file = join(scratch, `${page.replace(/\W/g, '-')}-${index}.mjs`)
      writeFileSync(file, block[1]!)
      const { status, stderr } = spawnSync(process.execPath, [file], { encoding: 'utf8', timeout: 60_000 })
      assert.is(status, 0, stderr)
    })
  }

  test(`${page}: its links lead somewhere`, () => {
    for (const [, target] of text.matchAll(/\]\((?!https?:|#)([^)#]+)[^)]*\)/g)) {
      assert.ok(existsSync(join(root, dirname(page), target!)), `${page} links to ${target}`)
    }
  })
}

test.run()
