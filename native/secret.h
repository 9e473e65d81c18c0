#pragma once
#include <openssl/crypto.h>

#include "span.h"

namespace sealwax {

// Room for a secret of at most N bytes, cleansed when it goes out of scope.
template <size_t N>
class SecretBytes {
 public:
  SecretBytes() = default;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes() { OPENSSL_cleanse(bytes_, N); }

  uint8_t* data() { return bytes_; }
  const uint8_t* data() const { return bytes_; }
  MutableSpan first(size_t length) { return {bytes_, length}; }

 private:
  uint8_t bytes_[N] = {};
};

// Cleanses somebody's buffer.
inline void wipe(MutableSpan span) {
  if (span.length != 0) OPENSSL_cleanse(span.data, span.length);
}

}  // namespace sealwax
