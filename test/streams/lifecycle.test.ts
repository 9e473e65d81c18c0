/** Every way a stream can end before its time, at every stage of a message, in both directions, signed and not. */
import { Readable, Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as assert from 'uvu/assert'
import { rejectionOf } from '../support/expect'
import { testInChildren } from './child'
import { checkCode, FRAME_LENGTH, KINDS, type Kind, nextTurn, Subject, turnsUntil } from './subject'

interface Run {
  readonly subject: Subject
  readonly source: Readable
  readonly sink: Writable
  /** Keyrings wait for this where the stage says so. */
  readonly answer: () => void
}

interface Stage {
  readonly kinds?: (kind: Kind) => boolean
  /** Bytes of input that go in; default: none. */
  readonly input?: (subject: Subject) => number
  readonly keyring?: 'late' | 'silent'
  /** The sink takes its first piece and no more. */
  readonly stalled?: true
  /** Whether keys are in use by then. */
  readonly keyed?: true
}

interface Ending {
  readonly act: (run: Run) => void
  /** How the pipeline ends, and the stream: null is without an error. */
  readonly pipeline: unknown
  readonly stream: unknown
}

const decrypting = ({ direction }: Kind) => direction === 'decrypt'
const beforeFooter = ({ headerLength, input }: Subject) => {
  const contentLength = input.readUInt32BE(headerLength + 2 * (FRAME_LENGTH + 32) + 20)
  return headerLength + 2 * (FRAME_LENGTH + 32) + 40 + contentLength
}

const STAGES: Record<string, Stage> = {
  'before any input': {},
  'in the header': { kinds: decrypting, input: ({ headerLength }) => headerLength - 20 },
  'before the keyring answers': { input: (subject) => subject.frameStart(1), keyring: 'late' },
  'with a keyring that never answers': { input: (subject) => subject.frameStart(1), keyring: 'silent' },
  'after the header': { input: (subject) => Math.max(1, subject.headerLength), keyed: true },
  'between two frames': { input: (subject) => subject.frameStart(1), keyed: true },
  'in a frame': { input: (subject) => subject.frameStart(1) + 500, keyed: true },
  'in the final frame': { input: (subject) => subject.frameStart(2) + 30, keyed: true },
  'in the footer': {
    kinds: ({ direction, signed }) => decrypting({ direction, signed }) && signed,
    input: (subject) => beforeFooter(subject) + 10,
    keyed: true,
  },
  'before the end of input': { input: ({ input }) => input.length, keyed: true },
  'with a sink that stalls': { input: ({ input }) => input.length, stalled: true, keyed: true },
}

const broken = new Error('broken')
const ENDINGS: Record<string, Ending> = {
  'destroy()': { act: ({ subject }) => subject.stream.destroy(), pipeline: 'ERR_STREAM_PREMATURE_CLOSE', stream: null },
  'destroy(error)': { act: ({ subject }) => subject.stream.destroy(broken), pipeline: broken, stream: broken },
  'destroy twice': {
    act: ({ subject }) => subject.stream.destroy(broken).destroy(new Error('again')),
    pipeline: broken,
    stream: broken,
  },
  'an abort': { act: ({ subject }) => subject.abort.abort(), pipeline: 'ERR_ABORTED', stream: 'ERR_ABORTED' },
  'an abort and a destroy': {
    act: ({ subject }) => {
      subject.abort.abort()
      subject.stream.destroy(broken)
    },
    pipeline: 'ERR_ABORTED',
    stream: 'ERR_ABORTED',
  },
  'an error of the source': { act: ({ source }) => source.destroy(broken), pipeline: broken, stream: broken },
  'an error of the sink': { act: ({ sink }) => sink.destroy(broken), pipeline: broken, stream: broken },
}

/** A stream in a pipeline with a source that is fed by hand, brought to a stage. */
async function begin(kind: Kind, stage: Stage): Promise<Run & { ended: Promise<unknown> }> {
  let answer = () => {}
  const subject = await Subject.create(kind, (keys) => {
    if (!stage.keyring) return
    const gate = new Promise<void>((resolve) => {
      answer = resolve
    })
    keys.before = () => gate
  })
  const source = new Readable({ read() {} })
  const sink = new Writable({
    highWaterMark: stage.stalled ? 1 : 1 << 20,
    write: (_piece, _encoding, callback) => void (stage.stalled || callback()),
  })
  const ended = rejectionOf(pipeline(source, subject.stream, sink))
  const length = stage.input?.(subject) ?? 0
  if (length > 0) source.push(subject.input.subarray(0, length))
  if (stage.keyring) await turnsUntil(() => subject.keys.asked === 1)
  else if (stage.stalled) await turnsUntil(() => sink.writableNeedDrain)
  else await turnsUntil(() => source.readableLength + subject.stream.writableLength === 0)
  if (stage.keyed) await turnsUntil(() => subject.usedKeys)
  return { subject, source, sink, answer, ended }
}

const scenarios: Record<string, () => Promise<void>> = {}

for (const [stageName, stage] of Object.entries(STAGES)) {
  for (const [endingName, ending] of Object.entries(ENDINGS)) {
    scenarios[`${endingName}, ${stageName}`] = async () => {
      for (const kind of KINDS.filter(stage.kinds ?? (() => true))) {
        const run = await begin(kind, stage)
        assert.not(run.subject.stream.destroyed)
        ending.act(run)
        run.subject.silence()
        await run.subject.checkEnded(ending.stream)
        checkCode(await run.ended, ending.pipeline)
        if (stage.keyring === 'late') {
          run.answer()
          await turnsUntil(() => run.subject.keys.dataKeys.length === 1)
          await nextTurn()
          run.subject.checkWiped()
        }
      }
    }
  }

  if (stage.input && !stage.keyring && !stage.stalled && stageName !== 'before the end of input') {
    scenarios[`the input ends, ${stageName}`] = async () => {
      for (const kind of KINDS.filter(decrypting).filter(stage.kinds ?? (() => true))) {
        const { subject, source, ended } = await begin(kind, stage)
        source.push(null)
        await subject.checkEnded('ERR_MESSAGE_TRUNCATED')
        assert.is(await ended, subject.errors[0])
      }
    }
  }
}

scenarios['nobody reads, after the end'] = async () => {
  for (const kind of KINDS) {
    const subject = await Subject.create(kind)
    await new Promise<void>((resolve) => subject.stream.end(subject.input, resolve))
    assert.ok(subject.usedKeys)
    assert.not(subject.stream.destroyed)
    subject.checkWiped()
    subject.stream.destroy()
  }
}

scenarios['all endings, after the end'] = async () => {
  for (const kind of KINDS) {
    for (const { act } of Object.values(ENDINGS)) {
      const run = await begin(kind, STAGES['before the end of input']!)
      run.source.push(null)
      assert.is(await run.ended, undefined)
      await run.subject.closed
      run.sink.on('error', () => {})
      run.source.on('error', () => {})
      act(run)
      await run.subject.checkEnded(null)
    }
  }
}

/** Scenarios run in groups, as starting a process takes longer than any of them. */
const groups = Object.fromEntries(
  [...Object.keys(STAGES), 'after the end'].map((stage) => {
    const names = Object.keys(scenarios).filter((name) => name.endsWith(`, ${stage}`))
    const run = async () => {
      for (const name of names) {
        try {
          await scenarios[name]!()
        } catch (error) {
          throw new Error(name, { cause: error })
        }
      }
    }
    return [`${stage}: ${names.length} endings`, run]
  }),
)
assert.ok(Object.keys(scenarios).length >= 60)
testInChildren(__filename, groups)
