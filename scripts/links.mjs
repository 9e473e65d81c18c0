// Asks for every page outside that the documentation links to: `node scripts/links.mjs [file or folder …]`. Ends with 1 where one is
// gone or does not answer. Links inside are checked by the tests.
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('..', import.meta.url))
const given = process.argv.slice(2)
const places =
  given.length > 0
    ? given
    : ['README.md', 'CHANGELOG.md', 'SECURITY.md', 'docs', 'examples'].map((name) => join(root, name))
const files = places.flatMap((place) =>
  statSync(place).isDirectory()
    ? readdirSync(place)
        .filter((name) => name.endsWith('.md'))
        .map((name) => join(place, name))
    : [place],
)
const links = new Set(
  files.flatMap((file) => [...readFileSync(file, 'utf8').matchAll(/\]\((https?:[^)\s]+)\)/g)].map(([, link]) => link)),
)

const answers = await Promise.all([...links].map(async (link) => [link, await ask(link)]))
for (const [link, answer] of answers)
  console.log(`${answer === 200 ? 'ok  ' : 'FAIL'} ${link}${answer === 200 ? '' : `: ${answer}`}`)
console.log(`${links.size} links, ${answers.filter(([, answer]) => answer !== 200).length} do not answer`)
process.exitCode = answers.every(([, answer]) => answer === 200) ? 0 : 1

/** The status, or why there is none. */
async function ask(link) {
  try {
    const { status, body } = await fetch(link, { signal: AbortSignal.timeout(30_000) })
    await body?.cancel()
    return status
  } catch (error) {
    return error.cause?.code ?? error.message
  }
}
