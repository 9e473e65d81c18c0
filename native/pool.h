#pragma once
#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>

namespace sealwax {

// More would wait for memory, not for the cipher.
constexpr unsigned kMaxThreads = 64;

// The worker threads of the process, shared by all its JavaScript threads. They start when first needed, hold nothing
// of any JavaScript thread, and end with the process.
class Pool {
 public:
  // Never destroyed: its threads may outlive static destruction.
  static Pool& instance();

  // How many threads one run can use, the calling one included.
  unsigned threads() const;

  // For tests: how many threads to use whatever the machine has, and how many bytes a piece of work is, however few; 0
  // goes back to what the machine has and what pays.
  void force(unsigned threads, size_t grain = 0);

  // The forced bytes of a piece, or 0.
  size_t forcedGrain() const { return forcedGrain_.load(std::memory_order_relaxed); }

  // Runs `work` on this thread and, as they come free, on up to `helpers` others. All have returned when this returns.
  // `work` takes its share from a common counter, so it does not matter how many come, and it must not throw.
  void run(unsigned helpers, const std::function<void()>& work);

  // Has another thread do `work` some time, which must not throw. False where there is none to be had: nothing will.
  // What is posted comes first, in order: others may wait for it, and never for those that help in `run`.
  bool post(const void* owner, std::function<void()> work);

  // Whether something that was posted has not begun.
  bool hasTasks() const;

  // Takes back what `owner` has posted, unless it has begun. Who waits for it need not wait for a thread that has
  // longer work: it does its own.
  bool takeBack(const void* owner);

 private:
  struct Job;
  struct Task {
    const void* owner;
    std::function<void()> work;
  };
  Pool();
  void start(unsigned helpers);
  void help();

  const int64_t process_;
  const unsigned available_;
  mutable std::mutex mutex_;
  std::condition_variable posted_;
  std::condition_variable finished_;
  std::deque<Job*> jobs_;
  std::deque<Task> tasks_;
  std::atomic<unsigned> forced_{0};
  std::atomic<size_t> forcedGrain_{0};
  unsigned started_ = 0;
};

}  // namespace sealwax
