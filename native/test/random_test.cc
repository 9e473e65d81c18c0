#include "random.h"

#include <set>

#include "check.h"

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
bool failing(uint64_t&) {
  return false;
}
bool alternating(uint64_t& word) {
  static int calls = 0;
  word = ++calls % 2 == 0 ? 0 : static_cast<uint64_t>(calls);
  return true;
}

}  // namespace

int main() {
  uint64_t words[4];
  check(drawWords(stuckAtZero, words, 4) == 0, "zeros are not random");
  check(drawWords(stuckAtOnes, words, 4) == 0, "ones are not random");
  check(drawWords(stuckAtSome, words, 4) == 1, "a repeat is not random");
  check(drawWords(failing, words, 4) == 0, "a generator may fail");
  check(drawWords(alternating, words, 4) == 4, "a draw is made again");
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
  checkNoErrorLeft();
  return 0;
}
