import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { forbidCoreDumps } from '../../src/engine/core-dumps'
import { chooseEngine, type Engine, getEngine, type OpenedFrames, useEngine } from '../../src/engine/engine'
import { loadNative, NativeEngine } from '../../src/engine/native'
import { nodeEngine } from '../../src/engine/node'
import { selfTest } from '../../src/engine/self-test'

if (process.argv[2] === 'child') {
  const files = JSON.parse(process.argv[3]!) as string[]
  const warnings: string[] = []
  process.on('warning', (warning) => warnings.push(String(warning)))
  const engine = chooseEngine(files)
  chooseEngine(files)
  const program = `require('tsx/cjs')
    const { parentPort, workerData } = require('node:worker_threads')
    const warnings = []
    process.on('warning', (warning) => warnings.push(String(warning)))
    require(workerData.file).chooseEngine(workerData.files)
    setImmediate(() => parentPort.postMessage(warnings))`
  const workerData = { file: require.resolve('../../src/engine/engine'), files }
  new Worker(program, { eval: true, workerData }).once('message', (more: string[]) => {
    warnings.push(...more)
    console.log(JSON.stringify({ info: engine.info(), warnings, problem: selfTest(engine) }))
  })
} else {
  const folder = mkdtempSync(join(tmpdir(), 'sealwax-'))
  const broken = join(folder, 'broken.node')
  writeFileSync(broken, 'not an addon')

  test('the addon is chosen where it loads, once', () => {
    assert.is(getEngine().info().backend, 'native')
    assert.is(getEngine(), getEngine())
  })

  for (const [files, reason] of [
    [[join(folder, 'missing.node')], /no addon for/],
    [[broken], /broken\.node/],
  ] as const) {
    test(`node:crypto takes over, with one warning of all threads, where there is ${reason}`, () => {
      const output = execFileSync(process.execPath, [...process.execArgv, __filename, 'child', JSON.stringify(files)], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
      const { info, warnings, problem } = JSON.parse(output)
      assert.is(info.backend, 'node')
      assert.match(info.fallback, reason)
      assert.is(warnings.length, 1)
      assert.match(warnings[0], reason)
      assert.is(problem, undefined)
    })
  }

  test('all that an addon needs is looked up when it is loaded, and not when it is called', () => {
    const { dlopen } = process
    const flags: unknown[] = []
    process.dlopen = (...all: unknown[]) => void flags.push(all[2])
    loadNative([broken])
    process.dlopen = dlopen
    assert.equal(flags, [constants.dlopen.RTLD_NOW])
  })

  test('an engine that computes wrongly fails the self-test', () => {
    const wrong = (part: object) => selfTest({ ...nodeProxy(), ...part } as Engine)
    assert.is(wrong({}), undefined)
    assert.match(wrong({ seal: () => {} })!, /seals/)
    assert.match(wrong({ open: () => true })!, /opens/)
    const decrypts: Engine['open'] = (key, iv, _, sealed, out) => {
      nodeEngine.openSegment(key, iv, 0, sealed.subarray(0, -16), out)
      return true
    }
    assert.match(wrong({ open: decrypts })!, /opens what is not authentic/)
    const releases: Engine['open'] = (...all) => nodeEngine.open(...all) || !decrypts(...all)
    assert.match(wrong({ open: releases })!, /opens what is not authentic/)
    assert.match(wrong({ combineSegments: () => new Uint8Array(16) })!, /segments are sealed/)
    assert.match(wrong({ openSegment: nodeEngine.hashSegment.bind(nodeEngine) })!, /segments are opened/)
    assert.match(wrong({ sealFrames: () => {} })!, /frames are sealed/)
    for (const answer of [{ count: 1 }, { status: 'ok' }]) {
      const other = { openFrames: (...all: FramesCall) => ({ ...nodeEngine.openFrames(...all), ...answer }) }
      assert.match(wrong(other)!, /frames are opened wrongly/)
    }
    assert.match(wrong({ openFrames: () => ({ count: 2, status: 'final' }) })!, /frames are opened wrongly/)
    let opened: OpenedFrames | undefined
    const forgiving: Engine['openFrames'] = (...all) => (opened ??= nodeEngine.openFrames(...all))
    assert.match(wrong({ openFrames: forgiving })!, /frames are opened that are not authentic/)
    assert.match(wrong({ hkdf: () => new Uint8Array(42) })!, /HKDF/)
    assert.match(wrong({ randomBytes: () => new Uint8Array(32) })!, /random/)
  })

  test('an addon that computes wrongly is not used', () => {
    const file = join(folder, 'wrong.js')
    const addon = JSON.stringify(join(__dirname, '../../native/build/Release/sealwax.node'))
    writeFileSync(
      file,
      `const addon = require(${addon})
      const seal = (key, iv, aad, plaintext, out) => (addon.seal(key, iv, aad, plaintext, out), out.fill(1), 0)
      module.exports = { ...addon, seal }`,
    )
    const { engine, fallback } = loadNative([file], require)
    assert.is(engine, undefined)
    assert.match(fallback!, /failed its self-test: AES-GCM seals wrongly/)
  })

  test('whether core dumps are forbidden is the answer of the system, and of the addon alone', () => {
    const { binding } = getEngine() as NativeEngine
    try {
      for (const status of [0, 8]) {
        useEngine(new NativeEngine({ ...binding, forbidCoreDumps: () => status }))
        assert.is(forbidCoreDumps(), status === 0)
      }
      useEngine(nodeEngine)
      assert.not.ok(forbidCoreDumps())
    } finally {
      useEngine(new NativeEngine(binding))
    }
  })

  test('a failing generator throws instead of giving bytes', () => {
    const { binding } = getEngine() as NativeEngine
    const failing = new NativeEngine({ ...binding, randomBytes: () => 8 })
    assert.throws(
      () => failing.randomBytes(16),
      (error: { code?: string }) => error.code === 'ERR_INTERNAL',
    )
  })

  test.after(() => rmSync(folder, { recursive: true }))
  test.run()
}

type FramesCall = Parameters<Engine['openFrames']>

/** The node engine as a plain object, so that single methods can be replaced. */
function nodeProxy(): object {
  const methods = [
    'seal',
    'open',
    'sealSegment',
    'openSegment',
    'combineSegments',
    'sealFrames',
    'openFrames',
    'hkdf',
    'randomBytes',
  ] as const
  return Object.fromEntries(
    methods.map((name) => [name, (nodeEngine[name] as (...all: unknown[]) => unknown).bind(nodeEngine)]),
  )
}
