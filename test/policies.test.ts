import * as peer from '@aws-crypto/client-node'
import { test } from 'uvu'
import * as assert from 'uvu/assert'
import {
  AlgorithmSuiteIdentifier,
  CommitmentPolicy,
  CommitmentPolicySuites,
  getCompatibleCommitmentPolicy,
  SignaturePolicy,
  SignaturePolicySuites,
} from '../src/index'
import { allowsDecrypt } from '../src/policies'
import { getSuite } from '../src/suites'
import { type checkError, throws } from './support/expect'

const IDS = Object.values(AlgorithmSuiteIdentifier).filter((id) => typeof id === 'number')

test('policies and their tables are those of client-node', () => {
  assert.equal({ ...CommitmentPolicy }, { ...peer.CommitmentPolicy })
  assert.equal({ ...SignaturePolicy }, { ...peer.SignaturePolicy })
  for (const policy of Object.values(CommitmentPolicy)) {
    assert.equal(plain(CommitmentPolicySuites[policy]), plain(peer.CommitmentPolicySuites[policy as never]))
  }
  for (const policy of Object.values(SignaturePolicy)) {
    assert.equal(plain(SignaturePolicySuites[policy]), plain(peer.SignaturePolicySuites[policy as never]))
  }
})

for (const policy of Object.values(CommitmentPolicy)) {
  test(`${policy}: what it writes and reads`, () => {
    for (const id of IDS) {
      const committing = id >= 0x0400
      const writes = committing === (policy !== CommitmentPolicy.FORBID_ENCRYPT_ALLOW_DECRYPT)
      const reads = committing || policy !== CommitmentPolicy.REQUIRE_ENCRYPT_REQUIRE_DECRYPT
      for (const suite of [id, getSuite(id)]) {
        const conflict = new RegExp(
          `Configuration conflict.*${policy}.*Algorithm ID was ${AlgorithmSuiteIdentifier[id]}\\.`,
        )
        expect(writes, () => CommitmentPolicySuites.isEncryptEnabled(policy, suite), 'ERR_COMMITMENT_POLICY', conflict)
        expect(
          reads,
          () => CommitmentPolicySuites.isDecryptEnabled(policy, suite, 'abcd'),
          'ERR_COMMITMENT_POLICY',
          conflict,
        )
      }
      assert.is(allowsDecrypt(policy, getSuite(id)), reads)
    }
    CommitmentPolicySuites.isEncryptEnabled(policy)
    CommitmentPolicySuites.isEncryptEnabled(policy, CommitmentPolicySuites[policy].defaultAlgorithmSuite)
  })
}

test('signature policies', () => {
  for (const id of IDS) {
    const signed = Boolean(getSuite(id).signatureCurve)
    const check = (policy: SignaturePolicy) => () => SignaturePolicySuites.isDecryptEnabled(policy, id, 'abcd')
    expect(true, check(SignaturePolicy.ALLOW_ENCRYPT_ALLOW_DECRYPT), 'ERR_SIGNATURE_POLICY')
    expect(!signed, check(SignaturePolicy.ALLOW_ENCRYPT_FORBID_DECRYPT), 'ERR_SIGNATURE_POLICY', /abcd.*un-signed/)
  }
})

test('unknown policies and suites are refused', () => {
  for (const policy of ['', 'NONE', 'toString', '__proto__', null, undefined, 5]) {
    throws(
      () => CommitmentPolicySuites.isEncryptEnabled(policy as never, 0x0578),
      TypeError,
      /Invalid commitment policy/,
    )
    throws(
      () => CommitmentPolicySuites.isDecryptEnabled(policy as never, 0x0578, ''),
      TypeError,
      /Invalid commitment policy/,
    )
    throws(
      () => SignaturePolicySuites.isDecryptEnabled(policy as never, 0x0578, ''),
      TypeError,
      /Invalid signature policy/,
    )
  }
  throws(
    () => CommitmentPolicySuites.isEncryptEnabled(CommitmentPolicy.REQUIRE_ENCRYPT_ALLOW_DECRYPT, 1 as never),
    'ERR_UNSUPPORTED_FORMAT',
  )
  throws(() => getCompatibleCommitmentPolicy(1 as never), 'ERR_UNSUPPORTED_FORMAT')
})

test('the policy for a suite writes it', () => {
  for (const id of IDS) {
    CommitmentPolicySuites.isEncryptEnabled(getCompatibleCommitmentPolicy(id), id)
    assert.is(getCompatibleCommitmentPolicy(id), peer.getCompatibleCommitmentPolicy(id as never) as string)
  }
})

test('none of it can be changed', () => {
  const tables = Object.values(CommitmentPolicy).flatMap((policy) => Object.values(CommitmentPolicySuites[policy]))
  const values = [CommitmentPolicy, CommitmentPolicySuites, SignaturePolicy, SignaturePolicySuites, ...tables]
  for (const value of values) assert.ok(Object.isFrozen(value))
})

function expect(allowed: boolean, check: () => void, code: Parameters<typeof checkError>[1], message?: RegExp): void {
  if (allowed) check()
  else throws(check, code, message)
}

/** Suites have other classes there, and the tables both ways. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

test.run()
