import { createPrivateKey, generateKeyPairSync, randomBytes } from 'node:crypto'
import { inspect } from 'node:util'
import * as peer from '@aws-crypto/client-node'
import * as pkcs11 from 'pkcs11js'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { buildClient, EncryptedDataKey, NodeDecryptionMaterial, NodeEncryptionMaterial } from '../../src/index'
import { Pkcs11AesKeyring, Pkcs11RsaKeyring, Pkcs11Token } from '../../src/pkcs11'
import { getSuite } from '../../src/suites'
import { checkError, rejectionOf, rejects } from '../support/expect'
import { aesKeyring, WRAPPING_SUITES } from '../support/keys'
import {
  aesTemplate,
  hostPids,
  importKeys,
  nss,
  openToken,
  PIN,
  rsaTemplate,
  softHsm,
  type TestToken,
} from '../support/pkcs11'

const SUITE = getSuite(0x0478)
const { encrypt, decrypt } = buildClient()
const theirs = peer.buildClient()
const encryptionContext = { purpose: 'tests', Zebra: '1', ähre: '2' }
const names = { keyNamespace: 'tests', keyName: 'näme' }
const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
const pem = {
  privateKey: privateKey.export({ type: 'pkcs8', format: 'pem' }).toString(),
  publicKey: publicKey.export({ type: 'spki', format: 'pem' }).toString(),
}
const aes = { 16: randomBytes(16), 24: randomBytes(24), 32: randomBytes(32) } as const

for (const candidate of [softHsm, nss]) {
  const token = candidate()
  if (token) testToken(token)
}

function testToken(kind: TestToken): void {
  const name = (text: string) => `${kind.name}: ${text}`
  const flag = (type: number, value: boolean) => [{ type, value }]
  importKeys(kind, [
    aesTemplate('aes-16', aes[16]),
    aesTemplate('aes-24', aes[24]),
    aesTemplate('aes-32', aes[32]),
    aesTemplate('twice', aes[32], [{ type: pkcs11.CKA_ID, value: Buffer.from('one') }]),
    aesTemplate('twice', aes[16], [{ type: pkcs11.CKA_ID, value: Buffer.from('two') }]),
    aesTemplate('clear', aes[32], [...flag(pkcs11.CKA_SENSITIVE, false), ...flag(pkcs11.CKA_EXTRACTABLE, true)]),
    aesTemplate('write-only', aes[32], flag(pkcs11.CKA_DECRYPT, false)),
    aesTemplate('read-only', aes[32], flag(pkcs11.CKA_ENCRYPT, false)),
    aesTemplate('generic', aes[32], [{ type: pkcs11.CKA_KEY_TYPE, value: pkcs11.CKK_GENERIC_SECRET }]),
    rsaTemplate('rsa', createPrivateKey(pem.privateKey).export({ format: 'jwk' })),
  ])
  const { libraryParameters } = kind.input
  if (libraryParameters)
    test(name('parameters of the library arrive with their last character'), async () => {
      const [folder] = /configdir='[^']+'/.exec(libraryParameters)!
      const last = `${libraryParameters.replace(folder, '')} ${folder.replaceAll("'", '')}`
      const another = openToken({ input: { ...kind.input, libraryParameters: last } })
      await token.info()
      assert.ok((await another.keys()).some(({ label }) => label === 'aes-16'))
      assert.is(hostPids().length, 2, 'and share no process with others')
      await another.close()
    })

  const token = openToken(kind)
  const keyring = (key: string | { label?: string; id?: Uint8Array }, more = {}) =>
    new Pkcs11AesKeyring({ token, key, ...names, ...more })

  for (const length of [16, 24, 32] as const) {
    test(name(`messages of a ${length * 8}-bit AES key are those of a raw keyring, both ways`), async () => {
      const own = keyring(`aes-${length}`)
      const raw = new peer.RawAesKeyringNode({
        ...names,
        unencryptedMasterKey: Uint8Array.from(aes[length]),
        wrappingSuite: WRAPPING_SUITES[length] as never,
      })
      for (let i = 0; i < 5; i++) {
        const written = await encrypt(own, 'to them', { encryptionContext })
        assert.is((await theirs.decrypt(raw, written.result)).plaintext.toString(), 'to them')
        const read = await theirs.encrypt(raw, 'from them', { encryptionContext })
        assert.is((await decrypt(own, read.result)).plaintext.toString(), 'from them')
      }
      for (const utf8Sorting of [true, false]) {
        const mine = aesKeyring({ ...names, unencryptedMasterKey: aes[length], utf8Sorting })
        const { result } = await encrypt(keyring(`aes-${length}`, { utf8Sorting }), 'x', { encryptionContext })
        assert.is((await decrypt(mine, result)).plaintext.toString(), 'x')
        assert.is(
          (await decrypt(own, (await encrypt(mine, 'y', { encryptionContext })).result)).plaintext.toString(),
          'y',
        )
      }
    })
  }

  for (const oaepHash of ['sha1', 'sha256', 'sha384', 'sha512'] as const) {
    const own = new Pkcs11RsaKeyring({ token, key: 'rsa', ...names, oaepHash })
    if (!kind.oaepHashes.includes(oaepHash)) {
      test(name(`OAEP with ${oaepHash}, which it lacks, is refused before anything is written or read`), async () => {
        await rejects(encrypt(own, 'x'), 'ERR_WRAPPING_KEY', /only OAEP with sha1/)
        const raw = new peer.RawRsaKeyringNode({ ...names, rsaKey: pem, oaepHash })
        await rejects(decrypt(own, (await theirs.encrypt(raw, 'x')).result), 'ERR_WRAPPING_KEY', /only OAEP with sha1/)
      })
      continue
    }
    test(name(`messages with OAEP ${oaepHash} are those of a raw keyring, both ways`), async () => {
      const raw = new peer.RawRsaKeyringNode({ ...names, rsaKey: pem, oaepHash })
      const given = new Pkcs11RsaKeyring({ token, key: 'rsa', ...names, oaepHash, publicKey: pem.publicKey })
      for (const writer of [own, given]) {
        const written = await encrypt(writer, 'to them', { encryptionContext })
        assert.is((await theirs.decrypt(raw, written.result)).plaintext.toString(), 'to them')
      }
      const read = await theirs.encrypt(raw, 'from them', { encryptionContext })
      assert.is((await decrypt(own, read.result)).plaintext.toString(), 'from them')
    })
  }

  test(
    name('PKCS #1 v1.5 only where it is asked for; what is wrong opens nothing and looks like any wrong key'),
    async () => {
      const raw = new peer.RawRsaKeyringNode({ ...names, rsaKey: { publicKey: pem.publicKey }, padding: 1 })
      const { result } = await theirs.encrypt(raw, 'old')
      const old = new Pkcs11RsaKeyring({ token, key: 'rsa', ...names, padding: 'pkcs1v15' })
      assert.is((await decrypt(old, result)).plaintext.toString(), 'old')
      await rejects(decrypt(new Pkcs11RsaKeyring({ token, key: 'rsa', ...names }), result), 'ERR_NO_DATA_KEY')
      const edk = new EncryptedDataKey({
        providerId: 'tests',
        providerInfo: 'näme',
        encryptedDataKey: Buffer.alloc(256, 1),
      })
      const open = async () =>
        (await old.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [edk])).getUnencryptedDataKey()
      assert.equal((await open()).export(), (await open()).export())
    },
  )

  test(
    name('a changed byte anywhere, or a wrong length, is one and the same failure, and sessions go on'),
    async () => {
      const own = keyring('aes-32')
      const [edk] = (await own.onEncrypt(new NodeEncryptionMaterial(SUITE, {}))).encryptedDataKeys
      const failures = new Set<string>()
      const attempt = async (encryptedDataKey: Uint8Array) => {
        const wrong = new EncryptedDataKey({
          ...names,
          providerId: 'tests',
          providerInfo: 'näme',
          rawInfo: edk!.rawInfo,
          encryptedDataKey,
        })
        const material = await own.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [wrong])
        assert.not.ok(material.hasValidKey())
        for (const { message } of material.failures) failures.add(message)
      }
      for (let i = 0; i < 48; i += 5)
        await attempt(edk!.encryptedDataKey.map((byte, at) => (at === i ? byte ^ 1 : byte)))
      for (const length of [1, 16, 32, 47, 49]) await attempt(new Uint8Array(length))
      const rsa = new Pkcs11RsaKeyring({ token, key: 'rsa', ...names })
      for (const length of [1, 255, 256, 257]) {
        const wrong = new EncryptedDataKey({
          providerId: 'tests',
          providerInfo: 'näme',
          encryptedDataKey: Buffer.alloc(length, 0x3c),
        })
        const material = await rsa.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [wrong])
        for (const { message } of material.failures) failures.add(message.replace('RSA', 'AES'))
      }
      assert.equal([...failures], ['PKCS#11 AES key "tests/näme" could not open its encrypted data key'])
      assert.ok((await own.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), [edk!])).hasValidKey())
    },
  )

  test(name('data keys made by the token are random, of the right length, and wrapped'), async () => {
    const own = keyring('aes-32', { dataKeySource: 'token' })
    const seen = new Set<string>()
    for (let i = 0; i < 10; i++) {
      const material = await own.onEncrypt(new NodeEncryptionMaterial(SUITE, {}))
      const dataKey = material.getUnencryptedDataKey().export()
      seen.add(dataKey.toString('hex'))
      const opened = await own.onDecrypt(new NodeDecryptionMaterial(SUITE, {}), material.encryptedDataKeys)
      assert.equal(opened.getUnencryptedDataKey().export(), dataKey)
    }
    assert.is(seen.size, 10)
  })

  test(name('keys are found by label, ID, both and URI; never by a name that two have'), async () => {
    const { result } = await encrypt(aesKeyring({ ...names, unencryptedMasterKey: aes[32] }), 'x')
    const id = Buffer.from('one')
    for (const key of [
      { id },
      { label: 'twice', id },
      'pkcs11:object=twice;id=%6Fn%65',
      'aes-32',
      'pkcs11:object=aes-32',
      `pkcs11:object=aes-32;token=${encodeURIComponent(kind.input.token)};type=secret-key`,
    ])
      assert.is((await decrypt(keyring(key), result)).plaintext.toString(), 'x')
    await rejects(decrypt(keyring('twice'), result), 'ERR_WRAPPING_KEY', /more than one AES key with the label "twice"/)
    for (const other of ['token=other', 'serial=0', 'manufacturer=x', 'model=x', 'slot-id=999'])
      await rejects(
        decrypt(keyring(`pkcs11:object=aes-32;${other}`), result),
        'ERR_WRAPPING_KEY',
        /names another PKCS#11 token/,
      )
    await rejects(decrypt(keyring('none'), result), 'ERR_WRAPPING_KEY', /no AES key with the label "none"/)
    for (const other of ['rsa', 'generic'])
      await rejects(decrypt(keyring(other), result), 'ERR_WRAPPING_KEY', /no AES key/)
    await rejects(
      encrypt(new Pkcs11RsaKeyring({ token, key: 'aes-32', ...names }), 'x'),
      'ERR_WRAPPING_KEY',
      /no RSA private key/,
    )
  })

  test(name('a key that may not do what is needed, or can be read in clear, is refused'), async () => {
    // NSS makes every key sensitive.
    if (kind.name !== 'NSS') await rejects(encrypt(keyring('clear'), 'x'), 'ERR_WRAPPING_KEY', /"clear".*read in clear/)
    await rejects(encrypt(keyring('write-only'), 'x'), 'ERR_WRAPPING_KEY', /not allowed to decrypt/)
    await rejects(encrypt(keyring('read-only'), 'x'), 'ERR_WRAPPING_KEY', /not allowed to encrypt/)
  })

  test(name('makes keys that stay in it, and lists them'), async () => {
    const early = keyring('made')
    await rejects(encrypt(early, 'x'), 'ERR_WRAPPING_KEY', /no AES key/)
    const made = await token.generateKey({ type: 'aes', label: 'made', bits: 192 })
    assert.equal([made.kind, made.bits, made.sensitive, made.extractable], ['aes', 192, true, false])
    const pair = await token.generateKey({ type: 'rsa', label: 'pair', bits: 2048 })
    assert.equal([pair.kind, pair.bits, pair.sensitive, pair.extractable], ['rsa-private', 2048, true, false])
    for (const label of ['made', 'pair'])
      await rejects(token.generateKey({ type: 'aes', label }), 'ERR_WRAPPING_KEY', /"(made|pair)" already/)
    const labels = (await token.keys()).map(({ kind: type, label }) => `${type} ${label}`)
    for (const label of ['aes made', 'rsa-private pair', 'rsa-public pair']) assert.ok(labels.includes(label), label)
    assert.not.ok(labels.some((label) => label.endsWith(' generic')))
    for (const own of [early, new Pkcs11RsaKeyring({ token, key: 'pair', ...names })]) {
      assert.is((await decrypt(own, (await encrypt(own, 'x')).result)).plaintext.toString(), 'x')
    }
  })

  test(name('of keys made at once with one label, whatever their kind, one is made'), async () => {
    const another = openToken(kind)
    const types = ['aes', 'rsa', 'aes', 'rsa'] as const
    const making = types.map((type, i) =>
      rejectionOf([token, another][i >> 1]!.generateKey({ type, label: 'at once', bits: type === 'aes' ? 256 : 2048 })),
    )
    const errors = (await Promise.all(making)).filter((error) => error !== undefined)
    assert.is(errors.length, 3)
    for (const error of errors) checkError(error, 'ERR_WRAPPING_KEY', /"at once" already/)
    const made = (await token.keys()).filter(({ label }) => label === 'at once')
    assert.is(new Set(made.map(({ kind: type }) => type.slice(0, 3))).size, 1)
    await another.close()
  })

  test(name('tokens are found by label, serial and URI; an unknown one is told with those there are'), async () => {
    const { serial, label, slot } = await token.info()
    const module = kind.input.module
    const parameters =
      kind.input.libraryParameters === undefined ? {} : { libraryParameters: kind.input.libraryParameters }
    for (const which of [
      { token: { serial, label } },
      { token: { slot } },
      { uri: `pkcs11:token=${encodeURIComponent(label)}` },
      // The free slot of SoftHSM is none; NSS has two tokens.
      ...(kind.name === 'SoftHSM' ? [{}] : []),
    ]) {
      const other = new Pkcs11Token({ module, ...parameters, ...which, pin: () => PIN })
      assert.is((await other.info()).serial, serial)
      await other.close()
    }
    await rejects(
      new Pkcs11Token({ module, ...parameters, token: 'none' }).info(),
      'ERR_WRAPPING_KEY',
      /no token with label "none"/,
    )
    assert.ok((await Pkcs11Token.list({ module, ...parameters })).some((each) => each.serial === serial))
  })

  test(name('neither PIN nor keys show when it is inspected; what is closed stays closed'), async () => {
    const own = keyring('aes-32')
    await encrypt(own, 'x')
    for (const text of [
      inspect(token, { depth: 9, showHidden: true }),
      JSON.stringify(token),
      inspect(own, { depth: 9, showHidden: true }),
    ])
      assert.not.match(text, /needle/)
    await token.close()
    await rejects(encrypt(own, 'x'), 'ERR_WRAPPING_KEY', /closed/)
  })

  test(name('without a PIN, no key that was made is seen, but its public half'), async () => {
    // Else that login would be everybody's.
    await token.close()
    const without = new Pkcs11Token(kind.input)
    for (const { kind: type, label } of await without.keys()) assert.is(type, 'rsa-public', label)
    await without.close()
  })
}

test.run()
