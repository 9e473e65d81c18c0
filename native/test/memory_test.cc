#include "memory.h"

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>

#include "check.h"

#ifndef _WIN32
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#endif

using namespace sealwax;

int main() {
  MemoryPool& pool = MemoryPool::instance();
  constexpr size_t kLength = (size_t{4} << 20) + 123;
  const MemoryPool::Block first = pool.take(kLength);
#ifdef _WIN32
  check(first.data == nullptr, "there is no such memory");
  return 0;
#else
  check(first.data != nullptr && first.length >= kLength, "a block has room");
  std::memset(first.data, 1, first.length);
  check(pool.kept() == 0, "nothing is kept at first");
  pool.give(first);
  check(pool.kept() == first.length, "a block is kept");
  check(pool.take(kLength / 2).data != first.data, "much smaller results do not use up a large block");
  check(pool.take(kLength + first.length).data != first.data, "a block is as long as asked for");
  const MemoryPool::Block again = pool.take(kLength - kLength / 8);
  check(again.data == first.data && again.length == first.length && pool.kept() == 0, "a block is used again");

  check(pool.take(MemoryPool::kMaxUsed).data == nullptr, "what is in use has a bound");
  pool.give(again);
  for (int i = 0; i < 100; i++) {
    const MemoryPool::Block block = pool.take(MemoryPool::kMaxKept / 3 * (1 + static_cast<size_t>(i) % 5));
    check(block.data != nullptr, "what is kept makes way");
    pool.give(block);
    check(pool.kept() <= MemoryPool::kMaxKept, "what is kept has a bound");
  }

  pool.keepAtMost(2 * kLength);
  pool.give(pool.take(kLength));
  check(pool.kept() > 0 && pool.kept() <= 2 * kLength, "what is kept can have a lower bound");
  pool.keepAtMost(MemoryPool::kMaxUsed);
  pool.give(pool.take(MemoryPool::kMaxKept + kLength));
  check(pool.kept() <= MemoryPool::kMaxKept, "and no higher one");

  const MemoryPool::Block mine = pool.take(kLength);
  const pid_t child = fork();
  if (child == 0) {
    if (pool.take(kLength).data != nullptr) _exit(1);
    pool.give(mine);
    _exit(msync(mine.data, mine.length, MS_ASYNC) != 0 && errno == ENOMEM ? 0 : 1);
  }
  int status = 0;
  check(waitpid(child, &status, 0) == child && status == 0, "a forked child takes none, and keeps none");
  pool.give(mine);

  // Whoever may not raise a limit of 0 has no core files, unless a program collects them.
  const int pattern = std::ifstream("/proc/sys/kernel/core_pattern").get();
  const pid_t limited = fork();
  if (limited == 0) {
    const rlimit none = {0, 0};
    if (setrlimit(RLIMIT_CORE, &none) != 0 || (getuid() == 0 && setuid(65534) != 0)) _exit(0);
    _exit(forbidCoreDumps() == (pattern != '|' && pattern != '@') ? 0 : 1);
  }
  check(waitpid(limited, &status, 0) == limited && status == 0, "a limit of 0 forbids core files");

#ifdef __GLIBC__
  // In a child, whose memory nobody else has used.
  const pid_t streaming = fork();
  if (streaming == 0) {
    keepFreedMemory(size_t{32} << 20);
    void* pieces[256];
    for (void*& piece : pieces) piece = std::malloc(size_t{64} << 10);
    const void* const end = sbrk(0);
    for (void* const piece : pieces) std::free(piece);
    _exit(sbrk(0) == end ? 0 : 1);
  }
  check(waitpid(streaming, &status, 0) == streaming && status == 0, "16 MiB that are free are kept");
#endif

  std::vector<std::thread> threads;
  for (int i = 0; i < 4; i++) {
    threads.emplace_back([&pool, i] {
      for (int round = 0; round < 200; round++) {
        const MemoryPool::Block block = pool.take(kLength);
        if (block.data == nullptr) continue;
        block.data[0] = static_cast<uint8_t>(i);
        std::this_thread::yield();
        check(block.data[0] == i, "a block has one owner");
        pool.give(block);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();

  for (int i = 0; i < 2; i++) {
    pool.give(pool.take(kLength));
    check(pool.kept() > 0, "it works again after it was trimmed");
    while (pool.kept() > 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return 0;
#endif
}
