#include "digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <iterator>
#include <memory>
#include <thread>

#include "check.h"
#include "pool.h"

using namespace sealwax;

namespace {

Bytes pattern(size_t length, uint32_t seed) {
  Bytes bytes(length);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>((seed = seed * 1664525 + 1013904223) >> 24);
  return bytes;
}

Bytes expected(const Bytes& bytes) {
  Bytes out(48);
  check(EVP_Digest(bytes.data(), bytes.size(), out.data(), nullptr, EVP_sha384(), nullptr) == 1, "OpenSSL hashes");
  return out;
}

Bytes finished(Digest& digest) {
  Bytes out(digest.length());
  check(digest.finish(out.data()), "finishes");
  return out;
}

// Feeds `bytes` in pieces of many lengths, now and then at once, each in memory that is overwritten as soon as the call
// returns.
Bytes inPieces(const Bytes& bytes, uint32_t seed) {
  constexpr size_t kLengths[] = {65536, 1, 70000, 4096, 16384, 0, 16383, 300000, 600000};
  Digest digest(Hash::sha384);
  Bytes piece;
  for (size_t at = 0; at < bytes.size();) {
    seed = seed * 1664525 + 1013904223;
    const size_t length = std::min(kLengths[(seed >> 16) % std::size(kLengths)], bytes.size() - at);
    piece.assign(bytes.begin() + static_cast<ptrdiff_t>(at), bytes.begin() + static_cast<ptrdiff_t>(at + length));
    check((seed >> 28) == 0 ? digest.update(view(piece)) : digest.updateLater(view(piece)), "takes bytes");
    std::fill(piece.begin(), piece.end(), uint8_t{0xee});
    at += length;
  }
  return finished(digest);
}

}  // namespace

int main() {
  const Bytes bytes = pattern(3 << 20, 1);
  const Bytes whole = expected(bytes);
  for (const unsigned threads : {1, 2, 5}) {
    Pool::instance().force(threads);
    for (uint32_t seed = 0; seed < 10; seed++) check(inPieces(bytes, seed) == whole, "pieces are hashed in order");
  }

  // More than may wait.
  Pool::instance().force(2);
  const Bytes many = pattern(40 << 20, 2);
  {
    Digest given(Hash::sha384), digest(Hash::sha384);
    check(given.updateLater(view(many)), "takes bytes");
    for (size_t at = 0; at < many.size(); at += 1 << 20) {
      check(digest.updateLater(view(many).sub(at, 1 << 20)), "takes bytes");
    }
    check(finished(digest) == expected(many), "all that waited for room is hashed, in order");
  }

  // Many hashes in several threads share those of the pool.
  std::vector<std::thread> callers;
  std::atomic<int> wrong{0};
  for (uint32_t caller = 0; caller < 4; caller++) {
    callers.emplace_back([&, caller] {
      std::vector<Bytes> inputs;
      std::vector<std::unique_ptr<Digest>> digests;
      for (uint32_t i = 0; i < 8; i++) {
        inputs.push_back(pattern(500000, 100 * caller + i));
        digests.emplace_back(new Digest(Hash::sha384));
      }
      for (size_t at = 0; at < 500000; at += 50000) {
        for (size_t i = 0; i < 8; i++) {
          if (!digests[i]->updateLater(view(inputs[i]).sub(at, 50000))) wrong++;
        }
      }
      for (size_t i = 0; i < 8; i++) {
        if (i % 4 == 3)
          digests[i].reset();  // given up while it is being hashed
        else if (finished(*digests[i]) != expected(inputs[i]))
          wrong++;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  check(wrong == 0, "hashes do not disturb each other");

  // A hash does not wait for threads that are at longer work.
  Pool::instance().force(2);
  std::atomic<bool> begun{false}, hashed{false};
  std::thread busy([&] {
    Pool::instance().run(4, [&] {
      begun = true;
      const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
      while (!hashed && std::chrono::steady_clock::now() < end) std::this_thread::yield();
      check(hashed, "a hash is done by who waits for it");
    });
  });
  while (!begun) std::this_thread::yield();
  check(inPieces(bytes, 1) == whole, "pieces are hashed in order");
  {
    Digest given(Hash::sha384), up(Hash::sha384);
    check(given.updateLater(view(bytes)) && up.updateLater(view(bytes)), "takes bytes");
  }
  hashed = true;
  busy.join();

  Digest digest(Hash::sha256);
  check(digest.updateLater(view(bytes).sub(0, 20000)), "takes bytes");
  check(finished(digest).size() == 32, "finishes");
  Bytes out(32);
  check(!digest.updateLater(view(bytes).sub(0, 20000)) && !digest.updateLater({}) && !digest.finish(out.data()),
        "nothing can follow the end");
  checkNoErrorLeft();
  return 0;
}
