/** Writes the vectors: `npx tsx test/vectors/s3/generate.ts`. The same program always writes the same bytes. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { KEYRINGS } from './cases/case'
import { format } from './cases/format'
import { instructionFiles } from './cases/instruction-files'
import { policy } from './cases/policy'
import { unauthentic } from './cases/unauthentic'
import { valid } from './cases/valid'

/** Each file's content, by its name. */
export const FILES: Readonly<Record<string, unknown>> = {
  'keyrings.json': KEYRINGS,
  'valid.json': valid,
  'policy.json': policy,
  'format.json': format,
  'instruction-files.json': instructionFiles,
  'unauthentic.json': unauthentic,
}

export const serialize = (content: unknown): string => `${JSON.stringify(content, null, 2)}\n`

if (require.main === module) {
  for (const [name, content] of Object.entries(FILES)) writeFileSync(join(__dirname, name), serialize(content))
}
