#pragma once
#include "evp.h"
#include "span.h"

namespace sealwax {

enum class Hash { sha256 = 0, sha384 = 1, sha512 = 2 };

constexpr size_t kMaxHashLength = 64;
size_t hashLengthOf(Hash hash);
// Null where OpenSSL has none. Lives as long as the process.
const EVP_MD* digestFor(Hash hash);

// A hash of bytes that come piece by piece. For one thread at a time.
class Digest {
 public:
  explicit Digest(Hash hash);

  size_t length() const { return hashLengthOf(hash_); }
  // False where OpenSSL failed, or when finished already.
  bool update(Span bytes);
  // `out` receives `length()` bytes. Nothing can follow.
  bool finish(uint8_t* out);

 private:
  const Hash hash_;
  EvpOwner<EVP_MD_CTX> context_;  // null when finished
};

}  // namespace sealwax
