/** docs/specification.md: every row names a test or vector that is there, or says why there is none. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { ROOT } from './support'

const VECTORS = /^(messages|s3)\/(valid|header|keys|body|signature|format|instruction-files|policy|unauthentic) /
const NONE = ''
const lines = readFileSync(join(ROOT, 'docs/specification.md'), 'utf8').split('\n')
const rows = lines.filter((line) => line.startsWith('| ') && !/^\| (section|---) \|/.test(line))

test('there is a row for each demand, with three cells', () => {
  assert.ok(rows.length >= 150, `${rows.length} rows`)
  for (const row of rows) assert.is(cellsOf(row).filter(Boolean).length, 3, row)
})

test('what a row names is there', () => {
  for (const row of rows) {
    const shown = cellsOf(row)[2]!
    const [reason, ...rest] = shown.startsWith('— ') ? [shown, ...(/: (\S+ › .*)/.exec(shown)?.slice(1) ?? [])] : ['']
    for (const name of reason ? rest : shown.split('; ')) assert.is(problemOf(name), NONE, row)
    assert.ok(!reason || reason.length > 20, row)
  }
  const reasons = rows.filter((row) => cellsOf(row)[2]!.startsWith('— ')).length
  console.log(`${rows.length} demands, ${rows.length - reasons} shown by tests, ${reasons} with a reason why not`)
})

test('a name that is not there is noticed', () => {
  assert.is(problemOf('messages/header › version 0'), NONE)
  assert.match(problemOf('messages/header › version 00'), /no such case/)
  assert.match(problemOf('message/inputs › no test is called that'), /no such test/)
  assert.match(problemOf('message/nothing › at all'), /no such file/)
  assert.match(problemOf('at all'), /no name/)
})

function cellsOf(row: string): string[] {
  return row.slice(2, -2).split(' | ')
}

function problemOf(reference: string): string {
  const [where, name] = reference.split(' › ')
  if (!where || !name) return `no name in ${reference}`
  const vectors = VECTORS.test(`${where} `)
  const file = join(ROOT, 'test', vectors ? `vectors/${where}.json` : `${where}.test.ts`)
  if (!existsSync(file)) return `no such file: ${file}`
  const text = readFileSync(file, 'utf8')
  if (!vectors) return namesOf(text).some((known) => known.includes(name)) ? NONE : `no such test: ${reference}`
  const cases = JSON.parse(text) as { description: string }[]
  return cases.some(({ description }) => description === name) ? NONE : `no such case: ${reference}`
}

/** What is written where tests and scenarios get their names, templates as they stand there. */
function namesOf(text: string): string[] {
  const named = /(?:\btest\(\s*|\bscenarios\[|^ {2}(?='))(['"`])((?:(?!\1).)*)\1/gm
  return [...text.matchAll(named)].map(([, , name]) => name!)
}

test.run()
