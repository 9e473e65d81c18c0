#pragma once
#include <cstdint>
#include <functional>

namespace sealwax {

int64_t processId();

// Starts a thread that belongs to the process, not to any JavaScript thread: it takes no signals, and the code it runs
// stays loaded. `work` must not throw. False where there are no more threads to be had.
bool startThread(std::function<void()> work);

}  // namespace sealwax
