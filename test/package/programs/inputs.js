// Everything that plaintext and ciphertext may be.
const { Readable } = require('node:stream')
const { buildClient } = require('@aws-crypto/client-node')
const { aesKeyring } = require('./lib/keys')
const { failure, report } = require('./lib/report')

report(async () => {
  const { encrypt, decrypt } = buildClient()
  const text = 'zażółć gęślą jaźń'
  const plaintexts = {
    string: [text],
    buffer: [Buffer.from(text)],
    array: [new Uint8Array(Buffer.from(text))],
    slice: [Buffer.from(`--${text}--`).subarray(2, -2)],
    stream: [Readable.from([Buffer.from(text).subarray(0, 5), Buffer.from(text).subarray(5)])],
    latin1: [text, { encoding: 'latin1' }],
    hex: ['c0ffee', { encoding: 'hex' }],
    base64: ['AQIDBA==', { encoding: 'base64' }],
    empty: [''],
    emptyStream: [Readable.from([])],
  }
  const opened = {}
  for (const [name, [plaintext, op]] of Object.entries(plaintexts)) {
    const { result } = await encrypt(aesKeyring(), plaintext, op)
    const back = await decrypt(aesKeyring(), result)
    opened[name] = [back.plaintext.toString('hex'), Buffer.isBuffer(result), Buffer.isBuffer(back.plaintext)]
  }
  const { result } = await encrypt(aesKeyring(), text)
  const ciphertexts = {
    base64: [result.toString('base64'), { encoding: 'base64' }],
    hex: [result.toString('hex'), { encoding: 'hex' }],
    array: [new Uint8Array(result)],
    stream: [Readable.from([result.subarray(0, 99), result.subarray(99)])],
  }
  for (const [name, [ciphertext, op]] of Object.entries(ciphertexts)) {
    opened[`from ${name}`] = (await decrypt(aesKeyring(), ciphertext, op)).plaintext.toString()
  }
  return { opened, number: await failure(() => encrypt(aesKeyring(), 5), 'Unsupported plaintext') }
})
