import { type ChildProcess, type SpawnOptions, spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { constants, tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** A folder for this test file, in which all commands run; gone when the process ends. */
export const folder = mkdtempSync(join(tmpdir(), 'sealwax-cli-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))

/** What starts the command line, before its own arguments. */
export const command = [
  process.execPath,
  '--import',
  pathToFileURL(require.resolve('tsx')).href,
  join(__dirname, '../../src/cli/main.ts'),
] as const

export interface Result {
  code: number | null
  stdout: Buffer
  stderr: string
}

/** Everything that any command of this test file has printed. */
export const printed: Buffer[] = []

/** Starts the command line; `done` settles when it has ended and its output is closed. */
export function start(args: readonly string[], options: SpawnOptions = {}) {
  return startProgram(command[0], [...command.slice(1), ...args], options)
}

export function startProgram(program: string, args: readonly string[], options: SpawnOptions = {}) {
  const child = spawn(program, args, { cwd: folder, ...options })
  const stdout: Buffer[] = []
  const stderr: Buffer[] = []
  child.stdout?.on('data', (chunk) => stdout.push(chunk))
  child.stderr?.on('data', (chunk) => stderr.push(chunk))
  // A command that fails early does not read what it is given.
  child.stdin?.on('error', () => {})
  const done = new Promise<Result>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => {
      printed.push(...stdout, ...stderr)
      // As a shell has it.
      const code = signal ? 128 + constants.signals[signal] : status
      resolve({ code, stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr).toString() })
    })
  })
  return { child, done }
}

/** Runs the command line in the folder. */
export async function sealwax(...args: string[]): Promise<Result> {
  return await sealwaxWith('', ...args)
}

/** The same with standard input. */
export async function sealwaxWith(input: string | Uint8Array, ...args: string[]): Promise<Result> {
  const { child, done } = start(args)
  child.stdin!.end(input)
  return await done
}

/** Runs a shell command in the folder; `"$@"` is the command line. */
export async function shell(script: string): Promise<Result> {
  const { child, done } = startProgram('sh', ['-c', script, 'sh', ...command])
  child.stdin!.end()
  return await done
}

/** Whether util-linux's script(1) is here, which gives a command a terminal. */
export const hasTerminal = spawnSync('script', ['-qec', 'true', '/dev/null']).status === 0

/** Runs a shell command at a terminal, and types once this prompt is there. */
export async function atTerminal(line: string, prompt: string, type: (child: ChildProcess) => void): Promise<Result> {
  const { child, done } = startProgram('script', ['-qec', line, '/dev/null'])
  let seen = ''
  child.stdout!.on('data', (text) => {
    if (!seen.includes(prompt) && `${seen}${text}`.includes(prompt)) type(child)
    seen += text
  })
  return await done
}

/** The command line for a shell, before its own arguments. */
export const quotedCommand = command.map((word) => `'${word}'`).join(' ')

export function path(name: string): string {
  return join(folder, name)
}

export function read(name: string): Buffer {
  return readFileSync(path(name))
}

/** What a command that was stopped or failed must not leave behind. */
export function temporaries(): string[] {
  return readdirSync(folder).filter((name) => name.endsWith('.tmp'))
}

/** The key of a key file, as it must not be printed. */
export function keyForms(name: string): Buffer[] {
  const { key } = JSON.parse(read(name).toString()) as { key: string }
  const raw = Buffer.from(key, 'base64')
  return [raw, Buffer.from(key), Buffer.from(key.replace(/=+$/, '')), Buffer.from(raw.toString('hex'))]
}
