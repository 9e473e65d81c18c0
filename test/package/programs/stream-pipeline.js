// Files through pipeline().
const { createReadStream, createWriteStream, mkdtempSync, readFileSync, rmSync, writeFileSync } = require('node:fs')
const { tmpdir } = require('node:os')
const { join } = require('node:path')
const { pipeline } = require('node:stream/promises')
const { createHash } = require('node:crypto')
const { buildClient, CommitmentPolicy } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { report } = require('./lib/report')

report(async () => {
  const { encryptStream, decryptStream } = buildClient(CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT)
  const folder = mkdtempSync(join(tmpdir(), 'program-'))
  const path = (name) => join(folder, name)
  try {
    writeFileSync(path('plain'), Buffer.alloc(300_001, 'all work and no play'))
    const op = { encryptionContext: { file: 'plain' }, frameLength: 1024 }
    await pipeline(createReadStream(path('plain')), encryptStream(aesKeyring(), op), createWriteStream(path('sealed')))
    await pipeline(createReadStream(path('sealed')), decryptStream(aesKeyring()), createWriteStream(path('copy')))
    const digest = (name) =>
      createHash('sha256')
        .update(readFileSync(path(name)))
        .digest('hex')
    return { same: digest('plain') === digest('copy'), digest: digest('copy') }
  } finally {
    rmSync(folder, { recursive: true })
  }
})
