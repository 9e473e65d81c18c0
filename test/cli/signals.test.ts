import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import { command, path, quotedCommand, read, sealwax, shell, start, startProgram, temporaries } from './cli'

const LENGTH = 64 * 2 ** 20
const EXIT_CODES = { SIGHUP: 129, SIGINT: 130, SIGTERM: 143 } as const
const SIGNALS = Object.keys(EXIT_CODES) as (keyof typeof EXIT_CODES)[]

test.before(async () => {
  writeFileSync(path('plain'), Buffer.alloc(LENGTH, 'text'))
  await sealwax('keygen', 'key.json')
  await sealwax('encrypt', 'plain', '-k', 'key.json')
})

for (const signal of SIGNALS) {
  test(`${signal} while the input is read`, async () => {
    const { child, done } = start(['encrypt', '-', '-k', 'key.json', '-o', 'out'])
    child.stdin!.write('the end never comes')
    await until(() => temporaries().length === 1)
    child.kill(signal)
    const { code, stderr } = await done
    assert.equal([code, stderr], [EXIT_CODES[signal], 'sealwax: interrupted\n'])
    assert.not.ok(existsSync(path('out')))
    assert.equal(temporaries(), [])
  })

  test(`${signal} while the output is written: complete or nothing`, async () => {
    const { child, done } = start(['decrypt', 'plain.sealed', '-k', 'key.json', '-o', 'back', '-f'])
    await until(() => temporaries().some((name) => writtenTo(name)) || child.exitCode !== null)
    child.kill(signal)
    const { code } = await done
    assert.equal(temporaries(), [])
    // The signal may come after the file has its name, when there is nothing left to interrupt.
    if (code === 0) assert.ok(read('back').equals(read('plain')))
    else assert.is(code, EXIT_CODES[signal])
    if (code !== 0) assert.not.ok(existsSync(path('back')))
    await shell('rm -f back')
  })
}

test('the exit code is that of the signal also where it does not end the process, as in a container', async () => {
  const [node, ...rest] = command
  const unkillable = ['--import', 'data:text/javascript,process.kill = () => true', ...rest]
  const { child, done } = startProgram(node, [...unkillable, 'encrypt', '-', '-k', 'key.json', '-o', 'out'])
  child.stdin!.write('the end never comes')
  await until(() => temporaries().length === 1)
  child.kill('SIGTERM')
  assert.is((await done).code, 143)
})

test('no core dump, as keys would be in it', async () => {
  const { child, done } = start(['encrypt', '-', '-k', 'key.json', '-o', 'out'])
  child.stdin!.write('the end never comes')
  await until(() => temporaries().length === 1)
  assert.match(readFileSync(`/proc/${child.pid}/limits`, 'latin1'), /^Max core file size +1 +1 /m)
  child.kill('SIGTERM')
  await done
})

test('a signal while the reader of standard output sleeps', async () => {
  const { stderr } = await shell(`
    mkfifo pipe; sleep 600 < pipe & reader=$!
    ${quotedCommand} decrypt plain.sealed -k key.json -o - > pipe & writer=$!
    sleep 2; kill -INT $writer
    wait $writer; echo "exit code $?" >&2; kill $reader`)
  assert.match(stderr, /exit code 130\n/)
})

for (const [what, args] of [
  ['a message', ['encrypt', 'plain', '-k', 'key.json', '-o', 'unread']],
  [
    'metadata',
    ['-e', '-i', 'plain', '-o', 'out', '-w', 'provider=sealwax', 'key=key.json', '--metadata-output', 'unread'],
  ],
] as const) {
  test(`a signal while the pipe for ${what} has no reader`, async () => {
    await shell('test -p unread || mkfifo unread')
    const { child, done } = start(args)
    await until(() => catchesHangup(child.pid!))
    // Time to come to the pipe.
    await setTimeout(1000)
    child.kill('SIGTERM')
    // It would wait for ever.
    const watchdog = globalThis.setTimeout(() => child.kill('SIGKILL'), 60_000)
    const { code, stderr } = await done
    clearTimeout(watchdog)
    assert.equal([code, stderr], [143, 'sealwax: interrupted\n'])
  })
}

test('an input that changes while it is read', async () => {
  const { code, stderr } = await shell(
    'while :; do echo more >> plain; done & "$@" encrypt plain -k key.json -o changed; code=$?; kill $!; exit $code',
  )
  assert.is(code, 1)
  assert.match(stderr, /"plain" changed while it was read/)
  assert.not.ok(existsSync(path('changed')))
})

function writtenTo(name: string): boolean {
  return (statSync(path(name), { throwIfNoEntry: false })?.size ?? 0) > 0
}

/** Whether the command is prepared for signals; Node.js alone catches others, but not this one. */
function catchesHangup(pid: number): boolean {
  return /^SigCgt:\t[0-9a-f]+[13579bdf]$/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'))
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setTimeout(1)
}

test.run()
