// What bare EVP does with the bytes of bench/engine.ts: the keys are set before, nothing is checked, and each thread
// has an equal share. `bench_limit [threads]`
#include <openssl/crypto.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "evp.h"

namespace {

using sealwax::EvpOwner;
using Bytes = std::vector<uint8_t>;

constexpr size_t kLength = 64 << 20;
const uint8_t key[32] = {1}, iv[12] = {2}, aad[78] = {3};

struct Share {
  const uint8_t* in;
  uint8_t* out;
  size_t length;
};

void gcm(EVP_CIPHER_CTX* context, const Share& share, size_t message) {
  int written;
  uint8_t tag[16];
  for (size_t at = 0; at < share.length; at += message) {
    EVP_EncryptInit_ex2(context, nullptr, nullptr, iv, nullptr);
    EVP_EncryptUpdate(context, nullptr, &written, aad, sizeof aad);
    EVP_EncryptUpdate(context, share.out + at, &written, share.in + at,
                      static_cast<int>(std::min(message, share.length - at)));
    EVP_EncryptFinal_ex(context, tag, &written);
    EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, sizeof tag, tag);
  }
}

// The best of some rounds, in GB/s: what the machine can do when nothing else runs.
template <class Work>
void report(const std::string& name, unsigned threads, const Bytes& in, Bytes& out, const Work& work) {
  double best = 0;
  for (int round = 0; round < 9; round++) {
    std::vector<std::thread> others;
    const size_t share = kLength / threads;
    const auto start = std::chrono::steady_clock::now();
    for (unsigned i = 1; i < threads; i++) {
      others.emplace_back([&, i] { work(Share{in.data() + i * share, out.data() + i * share, share}); });
    }
    work(Share{in.data(), out.data(), share});
    for (std::thread& other : others) other.join();
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
    best = std::max(best, static_cast<double>(kLength) / seconds.count() / 1e9);
  }
  std::printf("%-44s %u threads %8.2f GB/s\n", name.c_str(), threads, best);
}

}  // namespace

int main(int argc, char** argv) {
  const unsigned most = argc > 1 ? static_cast<unsigned>(std::max(1, std::atoi(argv[1]))) : 1;
  const EVP_CIPHER* const cipher = EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  const EVP_MD* const sha384 = EVP_MD_fetch(nullptr, "SHA384", nullptr);
  const Bytes in(kLength, 6);
  Bytes out(kLength, 0);
  std::printf("Bare EVP, best of 9, 64 MiB, %s\n", OpenSSL_version(OPENSSL_VERSION));
  for (const unsigned threads : {1U, most}) {
    for (const size_t message : {kLength, size_t{4096}, size_t{65536}}) {
      const std::string name = message == kLength ? "AES-256-GCM" : "AES-256-GCM, " + std::to_string(message) + " B";
      report(name, threads, in, out, [&](const Share& share) {
        const EvpOwner<EVP_CIPHER_CTX> context(EVP_CIPHER_CTX_new());
        EVP_EncryptInit_ex2(context.get(), cipher, key, nullptr, nullptr);
        gcm(context.get(), share, message);
      });
    }
    if (most == 1) break;
  }
  report("SHA-384", 1, in, out, [&](const Share& share) {
    uint8_t digest[48];
    EVP_Digest(share.in, share.length, digest, nullptr, sha384, nullptr);
  });
  return 0;
}
