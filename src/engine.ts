/** The public list of `sealwax/engine`: AES-GCM, HKDF and random bytes at the speed of the machine. */
/// <reference types="node" preserve="true" />

export { forbidCoreDumps } from './engine/core-dumps'
export type {
  Backend,
  Engine,
  EngineInfo,
  FrameRun,
  FramesStatus,
  Hash,
  HashName,
  HkdfOutput,
  MessageRun,
  OpenedFrames,
  OpenedMessage,
  RunningHash,
  SegmentHash,
  Signer,
  Verifier,
} from './engine/engine'
export { getEngine } from './engine/engine'
