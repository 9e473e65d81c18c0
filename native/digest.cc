#include "digest.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <thread>

#include "old-libc.h"
#include "pool.h"

namespace sealwax {
namespace {

// How many bytes wait at most: beyond that, who brings them waits too. So many that a pause of the thread that brings
// them, as for a garbage collection, leaves enough to hash.
constexpr size_t kMaxQueued = 1 << 20;
// To wake a thread takes as long as to hash this much.
constexpr size_t kMinQueued = 16 << 10;
// A thread that is free has begun by then. Who takes its work away sooner hashes all by himself.
constexpr std::chrono::microseconds kPatience{200};

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
    queued_.clear();
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
    const size_t length = std::min(rest.length, kMaxQueued - queued_.size());
    try {
      queued_.insert(queued_.end(), rest.data, rest.data + length);
    } catch (const std::bad_alloc&) {
      lock.unlock();
      return update(rest);
    }
    done += length;
    if (!working_) {
      working_ = true;
      if (!post()) {
        lock.unlock();
        work();
        lock.lock();
      }
    }
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (done < bytes.length && queued_.size() == kMaxQueued) {
      if (begun_ || std::chrono::steady_clock::now() > end) {
        help(lock);
      } else {
        lock.unlock();
        std::this_thread::yield();
        lock.lock();
      }
    }
  }
  return context_ != nullptr;
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

// Hashes what waits now. What comes meanwhile takes its turn behind other hashes.
void Digest::work() {
  const ErrorScope errors;
  std::unique_lock lock(mutex_);
  do {
    begun_ = true;
    taken_.swap(queued_);
    changed_.notify_all();
    lock.unlock();
    const bool hashed = EVP_DigestUpdate(context_.get(), taken_.data(), taken_.size()) == 1;
    lock.lock();
    taken_.clear();
    if (!hashed) {
      context_.reset();
      queued_.clear();
    }
  } while (!queued_.empty() && !post());
  if (!queued_.empty()) return changed_.notify_all();
  // One that waits for its reader holds no memory.
  queued_.shrink_to_fit();
  taken_.shrink_to_fit();
  working_ = false;
  changed_.notify_all();
}

}  // namespace sealwax
