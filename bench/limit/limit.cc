// Bare EVP over the same bytes, with the OpenSSL of the running Node.js: the key is set once, nothing is checked, no
// format is written, and each thread has an equal share.
#include <napi.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <thread>
#include <vector>

#include "evp.h"

namespace {

using sealwax::EvpOwner;

constexpr int kTagLength = 16;

struct Parameters {
  const uint8_t* key;
  const uint8_t* iv;
  const uint8_t* aad;
  size_t aad_length;
};

struct Share {
  const uint8_t* in;
  uint8_t* out;
  size_t length;
};

// AES-GCM of each `piece` bytes; every tag goes to `tag`, over the one before.
void gcm(const EVP_CIPHER* cipher, const Parameters& parameters, const Share& share, size_t piece, uint8_t* tag) {
  constexpr size_t kLongestUpdate = size_t{1} << 30;
  const EvpOwner<EVP_CIPHER_CTX> context(EVP_CIPHER_CTX_new());
  EVP_EncryptInit_ex(context.get(), cipher, nullptr, parameters.key, nullptr);
  int written;
  for (size_t at = 0; at < share.length; at += piece) {
    EVP_EncryptInit_ex(context.get(), nullptr, nullptr, nullptr, parameters.iv);
    EVP_EncryptUpdate(context.get(), nullptr, &written, parameters.aad, static_cast<int>(parameters.aad_length));
    const size_t end = std::min(at + piece, share.length);
    for (size_t from = at; from < end; from += kLongestUpdate) {
      const int length = static_cast<int>(std::min(kLongestUpdate, end - from));
      EVP_EncryptUpdate(context.get(), share.out + from, &written, share.in + from, length);
    }
    EVP_EncryptFinal_ex(context.get(), tag, &written);
    EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kTagLength, tag);
  }
}

// seal(key, iv, aad, plaintext, out, piece, threads): `out` receives the ciphertext, and one thread's last tag.
Napi::Value seal(const Napi::CallbackInfo& info) {
  const auto key = info[0].As<Napi::Uint8Array>(), iv = info[1].As<Napi::Uint8Array>(),
             aad = info[2].As<Napi::Uint8Array>(), in = info[3].As<Napi::Uint8Array>();
  auto out = info[4].As<Napi::Uint8Array>();
  const auto piece = static_cast<size_t>(info[5].As<Napi::Number>().Int64Value());
  const size_t threads = info[6].As<Napi::Number>().Uint32Value();
  const Parameters parameters{key.Data(), iv.Data(), aad.Data(), aad.ByteLength()};
  const EVP_CIPHER* const cipher = EVP_aes_256_gcm();
  const size_t length = in.ByteLength();
  // Whole pieces, unless one piece is all there is: then its bytes are cut.
  const size_t unit = piece < length ? piece : 1;
  const size_t share = ((length + threads - 1) / threads + unit - 1) / unit * unit;
  std::vector<std::thread> others;
  std::vector<std::array<uint8_t, kTagLength>> tags(threads);
  const uint8_t* const from = in.Data();
  uint8_t* const to = out.Data();
  const auto work = [&](size_t index) {
    const size_t start = std::min(index * share, length);
    gcm(cipher, parameters, Share{from + start, to + start, std::min(share, length - start)}, piece,
        tags[index].data());
  };
  for (size_t i = 1; i < threads; i++) others.emplace_back(work, i);
  work(0);
  for (std::thread& other : others) other.join();
  if (threads == 1) std::copy(tags[0].begin(), tags[0].end(), to + length);
  return info.Env().Undefined();
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("seal", Napi::Function::New(env, seal));
  return exports;
}

}  // namespace

NODE_API_MODULE(limit, init)
