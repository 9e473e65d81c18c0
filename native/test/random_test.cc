#include "random.h"

#include <openssl/rand.h>

#include <algorithm>
#include <bitset>
#include <cerrno>
#include <cmath>
#include <set>
#include <thread>

#include "check.h"

#ifdef __linux__
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// OpenSSL knows a forked process by its number. Two with the same number are as two machines from one snapshot.
namespace {
bool sameProcessId = false;
bool systemFails = false;
// Then every other call is interrupted, and the others give few bytes.
bool systemIsBusy = false;
size_t systemGave = 0;
}  // namespace
extern "C" __attribute__((visibility("default"))) pid_t getpid() noexcept {
  return sameProcessId ? 1 : static_cast<pid_t>(syscall(SYS_getpid));
}
extern "C" __attribute__((visibility("default"))) ssize_t getrandom(void* out, size_t length, unsigned flags) {
  static bool interrupts = false;
  if (systemFails || (systemIsBusy && (interrupts = !interrupts))) {
    errno = systemFails ? ENOSYS : EINTR;
    return -1;
  }
  const ssize_t got = syscall(SYS_getrandom, out, systemIsBusy ? std::min<size_t>(length, 5) : length, flags);
  if (systemIsBusy && got > 0) systemGave += static_cast<size_t>(got);
  return got;
}
#endif

using namespace sealwax;

namespace {

// CPUs that were seen, and one that was not.
bool stuckAtZero(uint64_t& word) {
  word = 0;
  return true;
}
bool stuckAtOnes(uint64_t& word) {
  word = ~uint64_t{0};
  return true;
}
bool stuckAtSome(uint64_t& word) {
  word = 0x1234;
  return true;
}
bool failing(uint64_t& word) {
  word = 0x1234567;
  return false;
}
bool alternating(uint64_t& word) {
  static int calls = 0;
  word = ++calls % 2 == 0 ? 0 : static_cast<uint64_t>(calls);
  return true;
}

// Of 10^8 bytes: as many ones as zeros, as many runs as there should be, and every byte as often as any other. Good
// bytes pass these bounds in all but one of 10^8 runs.
void checkStatistics() {
  constexpr size_t kRequest = 1000000, kRequests = 100;
  constexpr double kDeviations = 6.5;
  std::vector<uint64_t> counts(256);
  uint64_t ones = 0, runs = 1;
  int last = -1;
  Bytes bytes(kRequest);
  for (size_t i = 0; i < kRequests; i++) {
    check(randomBytes(span(bytes)) == Status::ok, "gives bytes");
    for (const uint8_t byte : bytes) {
      counts[byte]++;
      const auto bits = std::bitset<8>(byte);
      ones += bits.count();
      // Changes between neighbours, within the byte and from the last one.
      runs += std::bitset<7>(static_cast<unsigned>(byte ^ byte >> 1) & 0x7f).count();
      if (last >= 0 && (last & 1) != byte >> 7) runs++;
      last = byte;
    }
  }
  constexpr double kBytes = double{kRequest} * kRequests, kBits = 8 * kBytes;
  check(std::abs(static_cast<double>(ones) - kBits / 2) < kDeviations * std::sqrt(kBits) / 2, "ones and zeros");
  check(std::abs(static_cast<double>(runs) - kBits / 2) < kDeviations * std::sqrt(kBits) / 2, "runs");
  double chiSquare = 0;
  for (const uint64_t count : counts)
    chiSquare += std::pow(static_cast<double>(count) - kBytes / 256, 2) / (kBytes / 256);
  // 255 degrees of freedom, by Wilson and Hilferty's approximation.
  const double deviation = (std::cbrt(chiSquare / 255) - (1 - 2.0 / (9 * 255))) / std::sqrt(2.0 / (9 * 255));
  check(std::abs(deviation) < kDeviations, "every byte as often as any other");
}

void checkThreads() {
  constexpr size_t kThreads = 16, kDraws = 4096;
  std::vector<Bytes> drawn(kThreads * kDraws, Bytes(16));
  std::vector<std::thread> threads;
  for (size_t thread = 0; thread < kThreads; thread++) {
    threads.emplace_back([&, thread] {
      for (size_t i = 0; i < kDraws; i++) {
        check(randomBytes(span(drawn[thread * kDraws + i])) == Status::ok, "gives bytes on every thread");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  check(std::set<Bytes>(drawn.begin(), drawn.end()).size() == drawn.size(), "no two threads draw the same");
}

#ifdef __linux__
using Draw = bool (*)(MutableSpan out);
bool drawOurs(MutableSpan out) {
  return randomBytes(out) == Status::ok;
}
bool drawWithoutCpu(MutableSpan out) {
  return randomBytes(out, nullptr) == Status::ok;
}
bool drawOpenSsl(MutableSpan out) {
  return RAND_priv_bytes(out.data, static_cast<int>(out.length)) == 1;
}

// What so many copies of this process draw first, and how many of these are different.
size_t differentDraws(size_t copies, Draw draw) {
  std::set<Bytes> seen;
  for (size_t i = 0; i < copies; i++) {
    int ends[2];
    check(pipe(ends) == 0, "a pipe");
    const pid_t child = fork();
    Bytes drawn(32);
    if (child == 0) {
      const bool done = draw(span(drawn)) && write(ends[1], drawn.data(), drawn.size()) == 32;
      std::_Exit(done ? 0 : 1);
    }
    int status;
    check(waitpid(child, &status, 0) == child && status == 0, "a forked process draws");
    check(read(ends[0], drawn.data(), drawn.size()) == 32, "what it drew");
    close(ends[0]);
    close(ends[1]);
    seen.insert(drawn);
  }
  // This process goes on from the same state.
  Bytes mine(32);
  check(draw(span(mine)), "draws on");
  seen.insert(mine);
  return seen.size();
}

void checkCopies() {
  constexpr size_t kCopies = 20;
  for (const bool snapshot : {false, true}) {
    sameProcessId = snapshot;
    Bytes before(32);
    check(drawOurs(span(before)) && drawOpenSsl(span(before)), "draws before it is copied");
    for (const Draw draw : {drawOurs, drawWithoutCpu}) {
      check(differentDraws(kCopies, draw) == kCopies + 1,
            snapshot ? "no two copies draw the same" : "no two forks draw the same");
    }
    // Else this would show nothing.
    check(!snapshot || differentDraws(kCopies, drawOpenSsl) == 1, "OpenSSL alone takes copies for itself");
  }
  sameProcessId = false;
}
#else
void checkCopies() {}
#endif

}  // namespace

int main() {
#ifdef __linux__
  systemFails = true;
  Bytes left(32, 0xaa);
  check(randomBytes(span(left)) == Status::failed, "there are none without the system's bytes");
  check(allZero(left), "nor is there what was in their place");
  systemFails = false;
  systemIsBusy = true;
  systemGave = 0;
  check(randomBytes(span(left)) == Status::ok && systemGave >= 32, "the system is asked until it has given all");
  systemIsBusy = false;
#endif
  uint64_t words[4];
  check(drawWords(stuckAtZero, words, 4) == 0, "zeros are not random");
  check(drawWords(stuckAtOnes, words, 4) == 0, "ones are not random");
  check(drawWords(stuckAtSome, words, 4) == 1, "a repeat is not random");
  check(drawWords(failing, words, 4) == 0, "a generator may fail");
  check(drawWords(alternating, words, 4) == 4 && std::count(words, words + 4, 0) == 0, "a draw is made again");
  check(drawWords(nullptr, words, 4) == 0, "there may be no generator");
  for (const bool seed : {false, true}) {
    const CpuSource source = cpuSource(seed);
    if (source != nullptr) check(drawWords(source, words, 4) == 4, "this CPU's generator works");
  }

  // Whatever the CPU says, the bytes are fresh.
  std::set<Bytes> seen;
  size_t requests = 0;
  for (const CpuSource source :
       {CpuSource{stuckAtZero}, CpuSource{stuckAtOnes}, CpuSource{failing}, CpuSource{nullptr}}) {
    for (int i = 0; i < 100; i++, requests++) {
      Bytes out(32);
      check(randomBytes(span(out), source) == Status::ok, "gives bytes");
      seen.insert(out);
    }
  }
  check(seen.size() == requests, "never the same twice");
  Bytes large(200000);
  check(randomBytes(span(large)) == Status::ok && !allZero(large, large.size() - 16),
        "fills more than one DRBG request");
  Bytes none;
  check(randomBytes(span(none)) == Status::ok, "gives nothing when asked for nothing");
  checkCopies();
  checkThreads();
  checkStatistics();
  checkNoErrorLeft();
  return 0;
}
