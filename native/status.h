#pragma once

namespace sealwax {

// What an operation came to. The numbers cross to src/engine/native.ts.
enum class Status {
  ok = 0,
  // Data: what was opened is not what was expected.
  finalFrame = 1,
  outOfOrder = 2,
  wrongIv = 3,
  unauthentic = 4,
  // The caller's mistakes; TypeScript finds them first and says more.
  invalid = 5,
  overlapping = 6,
  notBytes = 7,
  // OpenSSL or memory allocation failed.
  failed = 8,
};

}  // namespace sealwax
