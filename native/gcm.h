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

  // `key` is 16, 24 or 32 bytes; else every operation is refused. The IVs are 12 bytes, but for segments.
  Gcm(Direction direction, Span key, size_t ivLength = kIvLength);

  // `out` receives ciphertext and tag. It is wiped when something fails.
  Status seal(Span iv, Span aad, Span plaintext, MutableSpan out);

  // `sealed` is ciphertext and tag. `out` is wiped when the tag is wrong or something fails.
  Status open(Span iv, Span aad, Span sealed, MutableSpan out);

  // For segments, whose tags are combined before any is compared: `tag` receives what was computed, in both directions.
  // Lengths and overlaps are the caller's to check, and that nothing unverified is released.
  bool sealDetached(Span iv, Span aad, Span plaintext, uint8_t* out, uint8_t* tag);
  bool decryptUnverified(Span iv, Span ciphertext, uint8_t* out, uint8_t* tag);

 private:
  bool start(Span iv, Span aad);
  bool update(Span input, uint8_t* out);
  bool computedTag(uint8_t* tag);

  ErrorScope errors_;
  CipherLease context_;
  Direction direction_;
  size_t ivLength_;
  bool keyed_ = false;
};

}  // namespace sealwax
