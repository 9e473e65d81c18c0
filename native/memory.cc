#include "memory.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <new>
#include <thread>

#include "thread.h"

#ifndef _WIN32
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#endif

namespace sealwax {
namespace {

constexpr std::chrono::seconds kKeepFor{1};

#ifdef _WIN32
// Results there have memory of Node's own.
MemoryPool::Block map(size_t) {
  return {nullptr, 0};
}
void unmap(MemoryPool::Block) {}
#else
MemoryPool::Block map(size_t length) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t whole = (length + page - 1) / page * page;
  void* const data = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return {nullptr, 0};
  preferHugePages({static_cast<uint8_t*>(data), whole});
  return {static_cast<uint8_t*>(data), whole};
}

void unmap(MemoryPool::Block block) {
  munmap(block.data, block.length);
}

// Whether a program gets core dumps, which Linux gives it at a limit of 0 too (core(5)).
bool dumpsAreCollected() {
#ifdef __linux__
  using File = std::unique_ptr<std::FILE, int (*)(std::FILE*)>;
  const File pattern(std::fopen("/proc/sys/kernel/core_pattern", "re"), std::fclose);
  const int first = pattern ? std::fgetc(pattern.get()) : EOF;
  return first == '|' || first == '@' || first == EOF;
#else
  return false;
#endif
}
#endif

}  // namespace

MemoryPool& MemoryPool::instance() {
  alignas(MemoryPool) static unsigned char room[sizeof(MemoryPool)];
  static MemoryPool* const pool = new (room) MemoryPool;
  return *pool;
}

MemoryPool::MemoryPool() : process_(processId()) {}

void MemoryPool::keepAtMost(size_t length) {
  const std::lock_guard lock(mutex_);
  maxKept_ = std::min(length, kMaxKept);
}

MemoryPool::Block MemoryPool::take(size_t length) {
  // A forked child has nobody to trim, and perhaps a lock that nobody will release.
  if (processId() != process_) return {nullptr, 0};
  const std::lock_guard lock(mutex_);
  if (length > kMaxUsed - std::min(usedLength_, kMaxUsed)) return {nullptr, 0};
  // The youngest that fits without wasting much: its pages are the likeliest to be in the cache.
  const auto fits = [length](const Kept& kept) {
    return kept.block.length >= length && kept.block.length - length <= length / 4;
  };
  const auto found = std::find_if(kept_.rbegin(), kept_.rend(), fits);
  const Block block = found == kept_.rend() ? map(length) : drop(std::prev(found.base()));
  usedLength_ += block.length;
  return block;
}

void MemoryPool::give(Block block) {
  if (processId() != process_) return unmap(block);
  const std::lock_guard lock(mutex_);
  usedLength_ -= block.length;
  if (block.length > maxKept_) return unmap(block);
  while (keptLength_ + block.length > maxKept_) unmap(drop(kept_.begin()));
  if (!trimming_ && !(trimming_ = startThread([this] { trim(); }))) return unmap(block);
  try {
    kept_.push_back({block, Clock::now()});
    keptLength_ += block.length;
  } catch (const std::bad_alloc&) {
    unmap(block);
  }
}

size_t MemoryPool::kept() {
  const std::lock_guard lock(mutex_);
  return keptLength_;
}

void MemoryPool::trim() {
  std::unique_lock lock(mutex_);
  while (!kept_.empty()) {
    const Clock::time_point end = kept_.front().since + kKeepFor;
    const Block block = Clock::now() < end ? Block{nullptr, 0} : drop(kept_.begin());
    lock.unlock();
    if (block.data == nullptr) {
      std::this_thread::sleep_until(end);
    } else {
      unmap(block);
    }
    lock.lock();
  }
  trimming_ = false;
}

MemoryPool::Block MemoryPool::drop(std::vector<Kept>::iterator which) {
  const Block block = which->block;
  keptLength_ -= block.length;
  kept_.erase(which);
  return block;
}

bool forbidCoreDumps() {
#ifdef _WIN32
  return false;
#else
  // 1 is for such programs too.
  const rlimit one = {1, 1};
  if (setrlimit(RLIMIT_CORE, &one) == 0) return true;
  // Who may not raise a limit of 0 leaves no files.
  rlimit limit;
  return getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_max == 0 && !dumpsAreCollected();
#endif
}

void keepFreedMemory(size_t length) {
#ifdef __GLIBC__
  // mallopt(3), M_TRIM_THRESHOLD: it keeps twice as much as the largest block that was mapped and freed, of 32 MiB at
  // most. Volatile, or compilers leave out both calls.
  void* volatile const block = std::malloc(std::min(length / 2, size_t{31} << 20));
  std::free(block);
#else
  static_cast<void>(length);
#endif
}

void preferHugePages(MutableSpan memory) {
#ifdef MADV_HUGEPAGE
  // The whole pages inside: neighbours are somebody else's.
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto start = reinterpret_cast<uintptr_t>(memory.data);
  const uintptr_t from = (start + page - 1) / page * page, to = (start + memory.length) / page * page;
  // A refusal costs time, not correctness.
  if (from < to) static_cast<void>(madvise(reinterpret_cast<void*>(from), to - from, MADV_HUGEPAGE));
#else
  static_cast<void>(memory);
#endif
}

}  // namespace sealwax
