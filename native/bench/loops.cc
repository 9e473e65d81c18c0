// One native loop, so many times: `bench_loops NAME ROUNDS`. bench/instructions.ts counts its instructions.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "frames.h"
#include "gcm.h"
#include "hkdf.h"
#include "pool.h"
#include "segments.h"

namespace {

using namespace sealwax;
using Bytes = std::vector<uint8_t>;

constexpr size_t kFrameLength = 4096, kFrames = 256;

Span span(const Bytes& bytes) {
  return {bytes.data(), bytes.size()};
}
MutableSpan span(Bytes& bytes) {
  return {bytes.data(), bytes.size()};
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  Pool::instance().force(1);
  const Bytes key(32, 1), messageId(32, 2), iv(12, 3), aad(64, 4), plaintext(kFrames * kFrameLength, 5);
  const FrameRun run{span(key), span(messageId), kFrameLength, 1};
  Bytes frames(kFrames * (kFrameLength + kRegularFrameOverhead)), opened(plaintext.size());
  if (sealFrames(run, span(plaintext), false, span(frames)) != Status::ok) return 1;
  Bytes small(1024, 6), sealedSmall(small.size() + kTagLength), output(64);

  const std::map<std::string, std::function<bool()>> loops{
      {"seal 256 frames of 4 KiB", [&] { return sealFrames(run, span(plaintext), false, span(frames)) == Status::ok; }},
      {"open 256 frames of 4 KiB", [&] { return openFrames(run, span(frames), span(opened)).count == kFrames; }},
      {"seal 1 KiB",
       [&] { return sealMessage(span(key), span(iv), span(aad), span(small), span(sealedSmall)) == Status::ok; }},
      {"HKDF-SHA512, 32 and 32 bytes",
       [&] {
         const HkdfOutput outputs[] = {{span(aad), span(output).sub(0, 32)}, {span(iv), span(output).sub(32, 32)}};
         return hkdf(Hash::sha512, span(key), span(messageId), outputs, 2) == Status::ok;
       }},
  };
  const auto loop = loops.find(argv[1]);
  if (loop == loops.end()) {
    for (const auto& [name, work] : loops) std::puts(name.c_str());
    return 0;
  }
  for (int round = std::atoi(argv[2]); round > 0; round--) {
    if (!loop->second()) return 1;
  }
  return 0;
}
