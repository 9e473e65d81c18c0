#include "pool.h"

#include <algorithm>
#include <new>
#include <system_error>
#include <thread>

#include "cpus.h"
#include "old-libc.h"

#ifdef _WIN32
#include <process.h>
#include <windows.h>
#else
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>
#endif

namespace sealwax {
namespace {

int64_t processId() {
#ifdef _WIN32
  return _getpid();
#else
  return getpid();
#endif
}

// A worker_thread that ends unloads its addons; the code that pool threads run must stay.
void stayLoaded() {
#ifdef _WIN32
  HMODULE self;
  GetModuleHandleExA(GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN,
                     reinterpret_cast<LPCSTR>(&stayLoaded), &self);
#else
  Dl_info self;
  if (dladdr(reinterpret_cast<void*>(&stayLoaded), &self) != 0) {
    dlopen(self.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
  }
#endif
}

#ifndef _WIN32
// Signals belong to Node's own threads. A thread inherits the mask of the one that starts it.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};
#else
class SignalsBlocked {};
#endif

}  // namespace

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

Pool::Pool() : process_(processId()), available_(std::clamp(availableCpus(), 1U, kMaxThreads)) {
  stayLoaded();
}

unsigned Pool::threads() {
  const std::lock_guard lock(mutex_);
  return forced_ != 0 ? forced_ : available_;
}

void Pool::force(unsigned threads, size_t grain) {
  const std::lock_guard lock(mutex_);
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

void Pool::start(unsigned helpers) {
  const SignalsBlocked blocked;
  try {
    for (; started_ < helpers; started_++) std::thread([this] { help(); }).detach();
  } catch (const std::system_error&) {
    // No more threads to be had: the calling thread does the work, with those there are.
  }
}

void Pool::help() {
  std::unique_lock lock(mutex_);
  for (;;) {
    posted_.wait(lock, [this] { return !jobs_.empty(); });
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
