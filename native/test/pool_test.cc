#include "pool.h"

#include <atomic>
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
  const pid_t child = fork();
  if (child == 0) _exit(sum(8, kCount) == kSum ? 0 : 1);
  int status = -1;
  check(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0,
        "a forked child works alone");
#endif
  return 0;
}
