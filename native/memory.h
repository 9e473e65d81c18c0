#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "span.h"

namespace sealwax {

// Memory for large results. The system gives out its pages zeroed, one fault at a time, which takes as long as sealing
// (bench/memory.ts). So what a result no longer needs is kept for the next one, for a second at most.
//
// A block holds what its last owner left there. Whoever takes one overwrites all of it that anyone is to see.
class MemoryPool {
 public:
  static constexpr size_t kMaxKept = size_t{256} << 20;
  // What is in use has a bound too: results of a caller that never lets other events have their turn do not come back.
  static constexpr size_t kMaxUsed = size_t{512} << 20;

  struct Block {
    uint8_t* data;
    size_t length;
  };

  // Never destroyed: results may outlive static destruction.
  static MemoryPool& instance();

  // Keeps no more than this from now on, and never more than kMaxKept: memory is for others too.
  void keepAtMost(size_t length);

  // A block of at least `length` bytes, or one without data where there is none to be had.
  Block take(size_t length);
  void give(Block block);

  // How many bytes are kept.
  size_t kept();

 private:
  using Clock = std::chrono::steady_clock;
  struct Kept {
    Block block;
    Clock::time_point since;
  };
  MemoryPool();
  void trim();
  Block drop(std::vector<Kept>::iterator which);

  const int64_t process_;
  std::mutex mutex_;
  std::vector<Kept> kept_;  // the oldest first
  size_t keptLength_ = 0;
  size_t maxKept_ = kMaxKept;
  size_t usedLength_ = 0;
  bool trimming_ = false;
};

// From now on the process leaves no core file, and none goes to a program that collects them. False where the system
// has no such setting, or refuses.
bool forbidCoreDumps();

// Has glibc keep up to `length` bytes that are free, and 62 MiB at most, for the whole process, unless its settings say
// otherwise. At first it gives all back to the system at once, and a stream, whose results are collected some tens of
// MiB at a time, waits for the same pages again and again. A block mapped and freed tells it better, as any large
// Buffer would.
void keepFreedMemory(size_t length);

// Asks the system to back memory that nothing was written to yet by huge pages. Does nothing where there are none.
void preferHugePages(MutableSpan memory);

}  // namespace sealwax
