#pragma once
#include <condition_variable>
#include <list>
#include <mutex>
#include <vector>

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
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  ~Digest();

  size_t length() const { return hashLengthOf(hash_); }
  // False where OpenSSL failed, or when finished already.
  bool update(Span bytes);
  // The same for a copy of the bytes, on another thread while this one goes on. A failure shows at the next call.
  bool updateLater(Span bytes);
  // `out` receives `length()` bytes. Nothing can follow.
  bool finish(uint8_t* out);

 private:
  size_t queue(Span bytes);
  void drop();
  void wait();
  void waitForRoom(std::unique_lock<std::mutex>& lock);
  void help(std::unique_lock<std::mutex>& lock);
  bool post();
  void work();

  const Hash hash_;
  EvpOwner<EVP_MD_CTX> context_;  // null when finished, or where OpenSSL failed
  std::mutex mutex_;
  std::condition_variable changed_;
  // Copies that wait, how many bytes they are, and how few wake who waits for room.
  std::list<std::vector<uint8_t>> queued_;
  size_t waiting_ = 0, enough_ = 0;
  bool working_ = false;
  // Whether a thread has begun with what was posted last.
  bool begun_ = false;
};

}  // namespace sealwax
