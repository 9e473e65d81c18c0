#include "thread.h"

#include <exception>
#include <thread>
#include <utility>

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

// A worker_thread that ends unloads its addons.
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
// Not defaulted: an object that does nothing would be an unused variable.
class SignalsBlocked {
 public:
  SignalsBlocked() {}
  ~SignalsBlocked() {}
};
#endif

}  // namespace

int64_t processId() {
#ifdef _WIN32
  return _getpid();
#else
  return getpid();
#endif
}

bool startThread(std::function<void()> work) {
  stayLoaded();
  const SignalsBlocked blocked;
  try {
    std::thread(std::move(work)).detach();
    return true;
  } catch (const std::exception&) {  // no threads, or no memory
    return false;
  }
}

}  // namespace sealwax
