#pragma once
#include "evp.h"
#include "span.h"
#include "status.h"

namespace sealwax {

constexpr size_t kIvLength = 12;
constexpr size_t kTagLength = 16;
// NIST SP 800-38D, 5.2.1.1: the most that one IV may seal.
constexpr uint64_t kMaxGcmLength = (uint64_t{1} << 36) - 32;

inline bool isKeyLength(size_t length) {
  return length == 16 || length == 24 || length == 32;
}

// AES-GCM under one key, in one direction: the key is set once, the IV with each operation. For one thread.
class Gcm {
 public:
  enum class Direction { seal, open };

  // `key` is 16, 24 or 32 bytes; else every operation is refused.
  Gcm(Direction direction, Span key);

  // `out` receives ciphertext and tag. It is wiped when something fails.
  Status seal(Span iv, Span aad, Span plaintext, MutableSpan out);

  // `sealed` is ciphertext and tag. `out` is wiped when the tag is wrong or something fails.
  Status open(Span iv, Span aad, Span sealed, MutableSpan out);

 private:
  bool start(Span iv, Span aad);
  bool update(Span input, uint8_t* out);

  ErrorScope errors_;
  CipherLease context_;
  Direction direction_;
  bool keyed_ = false;
};

}  // namespace sealwax
