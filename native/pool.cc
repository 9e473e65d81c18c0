#include "pool.h"

#include <algorithm>
#include <new>
#include <utility>

#include "cpus.h"
#include "old-libc.h"
#include "thread.h"

namespace sealwax {

struct Pool::Job {
  const std::function<void()>& work;
  unsigned wanted;
  unsigned running = 0;
};

Pool& Pool::instance() {
  alignas(Pool) static unsigned char room[sizeof(Pool)];
  static Pool* const pool = new (room) Pool;
  return *pool;
}

Pool::Pool() : process_(processId()), available_(std::clamp(availableCpus(), 1U, kMaxThreads)) {}

// Without a lock: a forked child would wait for one that nobody will release.
unsigned Pool::threads() const {
  const unsigned forced = forced_;
  return forced != 0 ? forced : available_;
}

void Pool::force(unsigned threads, size_t grain) {
  forcedGrain_ = grain;
  forced_ = std::min(threads, kMaxThreads);
}

void Pool::run(unsigned helpers, const std::function<void()>& work) {
  // A forked child has no pool threads, and perhaps a lock that nobody will release.
  if (helpers == 0 || processId() != process_) return work();

  Job job{work, helpers};
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(&job);
    start(helpers);
  }
  helpers == 1 ? posted_.notify_one() : posted_.notify_all();
  work();
  std::unique_lock lock(mutex_);
  const auto unclaimed = std::find(jobs_.begin(), jobs_.end(), &job);
  if (unclaimed != jobs_.end()) jobs_.erase(unclaimed);
  finished_.wait(lock, [&] { return job.running == 0; });
}

bool Pool::post(const void* owner, std::function<void()> work) {
  if (threads() < 2 || processId() != process_) return false;
  {
    const std::lock_guard lock(mutex_);
    start(1);
    if (started_ == 0) return false;
    try {
      tasks_.push_back({owner, std::move(work)});
    } catch (const std::bad_alloc&) {
      return false;
    }
  }
  posted_.notify_one();
  return true;
}

bool Pool::hasTasks() const {
  const std::lock_guard lock(mutex_);
  return !tasks_.empty();
}

bool Pool::takeBack(const void* owner) {
  const std::lock_guard lock(mutex_);
  const auto found =
      std::find_if(tasks_.begin(), tasks_.end(), [owner](const Task& task) { return task.owner == owner; });
  if (found == tasks_.end()) return false;
  tasks_.erase(found);
  return true;
}

// Where there are no more threads to be had, the calling one does the work with those there are.
void Pool::start(unsigned helpers) {
  while (started_ < helpers && startThread([this] { help(); })) started_++;
}

void Pool::help() {
  std::unique_lock lock(mutex_);
  for (;;) {
    posted_.wait(lock, [this] { return !tasks_.empty() || !jobs_.empty(); });
    if (!tasks_.empty()) {
      const Task task = std::move(tasks_.front());
      tasks_.pop_front();
      lock.unlock();
      task.work();
      lock.lock();
      continue;
    }
    Job& job = *jobs_.front();
    if (--job.wanted == 0) jobs_.pop_front();
    job.running++;
    lock.unlock();
    job.work();
    lock.lock();
    if (--job.running == 0) finished_.notify_all();
  }
}

}  // namespace sealwax
