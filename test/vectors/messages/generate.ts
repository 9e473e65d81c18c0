/** Writes the vectors: `npx tsx test/vectors/messages/generate.ts`. The same program always writes the same bytes. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { body } from './cases/body'
import { KEYRINGS, type Vector } from './cases/case'
import { header } from './cases/header'
import { keys } from './cases/keys'
import { signatures } from './cases/signature'
import { valid } from './cases/valid'

/** Each file's content, by its name. */
export const FILES: Readonly<Record<string, unknown>> = {
  'keyrings.json': KEYRINGS,
  'valid.json': valid satisfies Vector[],
  'header.json': header satisfies Vector[],
  'keys.json': keys satisfies Vector[],
  'body.json': body satisfies Vector[],
  'signature.json': signatures satisfies Vector[],
}

export const serialize = (content: unknown): string => `${JSON.stringify(content, null, 2)}\n`

if (require.main === module) {
  for (const [name, content] of Object.entries(FILES)) writeFileSync(join(__dirname, name), serialize(content))
}
