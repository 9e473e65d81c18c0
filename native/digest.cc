#include "digest.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <new>
#include <thread>
#include <utility>

#include "old-libc.h"
#include "pool.h"

namespace sealwax {
namespace {

// How many bytes wait at most, of all hashes together: beyond that, who brings them waits too. So many that a pause of
// the thread that brings them, as for a garbage collection, leaves enough to hash, and so few that no event loop waits
// long for the rest at the end.
constexpr size_t kMaxQueued = 8 << 20;
// What one hash may have waiting whatever the others have.
constexpr size_t kOwnQueued = 256 << 10;
// How much is hashed in one go, before who waits is woken and others have their turn.
constexpr size_t kTurn = 1 << 20;
// How long copies are: at most, and at least where more may come.
constexpr size_t kMaxCopy = 256 << 10, kMinCopy = 64 << 10;
// To wake a thread takes as long as to hash this much.
constexpr size_t kMinQueued = 16 << 10;
// A thread that is free has begun by then. Who takes its work away sooner hashes all by himself.
constexpr std::chrono::microseconds kPatience{200};

std::atomic<size_t> allQueued{0};

}  // namespace

size_t hashLengthOf(Hash hash) {
  return hash == Hash::sha256 ? 32 : hash == Hash::sha384 ? 48 : 64;
}

const EVP_MD* digestFor(Hash hash) {
  static Hashing sha256("SHA256"), sha384("SHA384"), sha512("SHA512");
  return (hash == Hash::sha256 ? sha256 : hash == Hash::sha384 ? sha384 : sha512).get();
}

Digest::Digest(Hash hash) : hash_(hash), context_(EVP_MD_CTX_new()) {
  const ErrorScope errors;
  if (context_ && EVP_DigestInit_ex2(context_.get(), digestFor(hash), nullptr) != 1) context_.reset();
}

Digest::~Digest() {
  {
    const std::lock_guard lock(mutex_);
    drop();
  }
  wait();
}

bool Digest::update(Span bytes) {
  wait();
  const ErrorScope errors;
  return context_ && (bytes.length == 0 || EVP_DigestUpdate(context_.get(), bytes.data, bytes.length) == 1);
}

bool Digest::updateLater(Span bytes) {
  if (Pool::instance().threads() < 2) return update(bytes);
  std::unique_lock lock(mutex_);
  if (!working_ && bytes.length < kMinQueued) {
    lock.unlock();
    return update(bytes);
  }
  for (size_t done = 0; done < bytes.length && context_;) {
    const Span rest = bytes.sub(done, bytes.length - done);
    try {
      done += queue(rest);
    } catch (const std::bad_alloc&) {
      lock.unlock();
      return update(rest);
    }
    if (!working_) {
      working_ = true;
      if (!post()) {
        lock.unlock();
        work();
        lock.lock();
      }
    }
    if (waiting_ >= kOwnQueued && allQueued >= kMaxQueued) waitForRoom(lock);
  }
  return context_ != nullptr;
}

// Copies the first of the bytes, and says how many.
size_t Digest::queue(Span bytes) {
  if (queued_.empty() || queued_.back().size() == queued_.back().capacity()) {
    std::vector<uint8_t> copy;
    copy.reserve(std::clamp(bytes.length, kMinCopy, kMaxCopy));
    queued_.push_back(std::move(copy));
  }
  std::vector<uint8_t>& copy = queued_.back();
  const size_t length = std::min(bytes.length, copy.capacity() - copy.size());
  copy.insert(copy.end(), bytes.data, bytes.data + length);
  waiting_ += length;
  allQueued += length;
  return length;
}

// Until a turn's worth is gone, or half of what there is.
void Digest::waitForRoom(std::unique_lock<std::mutex>& lock) {
  enough_ = waiting_ - std::min(waiting_ / 2, kTurn);
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (waiting_ > enough_) {
    if (begun_ || std::chrono::steady_clock::now() > end) {
      help(lock);
    } else {
      lock.unlock();
      std::this_thread::yield();
      lock.lock();
    }
  }
  enough_ = 0;
}

bool Digest::finish(uint8_t* out) {
  wait();
  const ErrorScope errors;
  const EvpOwner<EVP_MD_CTX> context = std::move(context_);
  return context && EVP_DigestFinal_ex(context.get(), out, nullptr) == 1;
}

// Until nothing is hashed elsewhere.
void Digest::wait() {
  std::unique_lock lock(mutex_);
  while (working_) help(lock);
}

// Does what no other thread has begun, or waits for the next change.
void Digest::help(std::unique_lock<std::mutex>& lock) {
  if (!Pool::instance().takeBack(this)) return changed_.wait(lock);
  lock.unlock();
  work();
  lock.lock();
}

bool Digest::post() {
  begun_ = false;
  return Pool::instance().post(this, [this] { work(); });
}

// Hashes what waits, a turn at a time where others wait too.
void Digest::work() {
  std::list<std::vector<uint8_t>> taken;
  std::unique_lock lock(mutex_);
  // Ends under the lock: who waits may end the process next, and OpenSSL with it.
  const ErrorScope errors;
  while (!queued_.empty()) {
    begun_ = true;
    size_t length = 0;
    while (!queued_.empty() && length < kTurn) {
      length += queued_.front().size();
      taken.splice(taken.end(), queued_, queued_.begin());
    }
    waiting_ -= length;
    allQueued -= length;
    if (waiting_ <= enough_) changed_.notify_all();
    lock.unlock();
    const bool hashed = std::all_of(taken.begin(), taken.end(), [this](const std::vector<uint8_t>& copy) {
      return EVP_DigestUpdate(context_.get(), copy.data(), copy.size()) == 1;
    });
    taken.clear();
    lock.lock();
    if (!hashed) {
      context_.reset();
      drop();
    }
    if (!queued_.empty() && Pool::instance().hasTasks() && post()) return changed_.notify_all();
  }
  working_ = false;
  changed_.notify_all();
}

// Forgets what waits.
void Digest::drop() {
  queued_.clear();
  allQueued -= std::exchange(waiting_, 0);
}

}  // namespace sealwax
