#include "pool.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "check.h"
#include "cpus.h"

#ifndef _WIN32
#include <sys/wait.h>
#include <unistd.h>
#endif

using namespace sealwax;

namespace {

// Sums 0 … count - 1 by a common counter.
size_t sum(unsigned helpers, size_t count) {
  std::atomic<size_t> next{0}, total{0};
  Pool::instance().run(helpers, [&] {
    for (size_t i; (i = next++) < count;) total += i;
  });
  return total;
}

#ifndef _WIN32
// Forks while the pool's lock is held: what is taken back is destroyed under it. How the child ends.
int forkUnderLock() {
  Pool& pool = Pool::instance();
  pool.force(2);
  int status = -1;
  std::atomic<bool> open{false};
  std::atomic<unsigned> left{kMaxThreads};
  for (unsigned i = 0; i < kMaxThreads; i++) {
    check(pool.post(&open,
                    [&] {
                      while (!open) std::this_thread::yield();
                      left--;
                    }),
          "every thread is busy");
  }
  {
    const auto forks = [&](int*) {
      const pid_t child = fork();
      if (child == 0) {
        alarm(10);
        _exit(pool.post(&left, [] {}) || sum(8, 1000) != 499500 ? 1 : 0);
      }
      if (waitpid(child, &status, 0) != child) status = -1;
    };
    std::shared_ptr<int> held(&status, forks);
    check(pool.post(&status, [held = std::move(held)] {}), "something waits");
  }
  check(!pool.takeBack(&pool), "nothing of another owner is taken back");
  check(pool.takeBack(&status), "what has not begun is taken back");
  open = true;
  while (left > 0) std::this_thread::yield();
  return status;
}
#endif

}  // namespace

int main() {
  check(availableCpus() >= 1, "there is a CPU");
  Pool& pool = Pool::instance();
  check(pool.threads() >= 1, "there is a thread");
  pool.force(5);
  check(pool.threads() == 5, "threads can be forced");
  pool.force(0);

  constexpr size_t kCount = 1000;
  constexpr size_t kSum = kCount * (kCount - 1) / 2;
  for (unsigned helpers = 0; helpers < 9; helpers++) check(sum(helpers, kCount) == kSum, "all work is done once");

  // Several callers at a time, as several worker_threads are.
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (int i = 0; i < 4; i++) {
    callers.emplace_back([&] {
      for (int round = 0; round < 300; round++) {
        if (sum(3, kCount) != kSum) wrong++;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  check(wrong == 0, "callers do not disturb each other");

#ifndef _WIN32
  const int status = forkUnderLock();
  check(WIFEXITED(status) && WEXITSTATUS(status) == 0, "a forked child works alone");
#endif
  return 0;
}
