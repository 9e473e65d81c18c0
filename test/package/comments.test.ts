/** What the API reference is made of: every function, class and constant has a comment where it is defined. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ROOT } from './support'

for (const list of ['index', 's3', 'pkcs11', 'local-kms', 'engine']) {
  test(`every value that src/${list}.ts exports has a comment`, () => {
    const text = readFileSync(join(ROOT, 'src', `${list}.ts`), 'utf8')
    let defined = 0
    for (const [, names, file] of text.matchAll(/^export \{([^}]*)\} from '\.\/([^']+)'/gm)) {
      const lines = readFileSync(join(ROOT, 'src', `${file}.ts`), 'utf8').split('\n')
      for (const [, name] of names!.matchAll(/(?:^|,)\s*(?!type )(\w+)/g)) {
        const definition = new RegExp(`^(export )?(abstract |async )?(class|function|const|enum) ${name}\\b`)
        const line = lines.findIndex((candidate) => definition.test(candidate))
        if (line < 0) continue
        defined++
        assert.match(lines[line - 1]!, /\*\/$|^\/\/ /, `${file}.ts: ${name}`)
      }
    }
    assert.ok(defined > 0)
  })
}

test.run()
