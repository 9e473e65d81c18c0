#include "gcm.h"

#include <algorithm>

#include "secret.h"

namespace sealwax {
namespace {

// EVP takes lengths as int. A multiple of the block, so that a cut never falls inside one.
constexpr size_t kMaxUpdate = size_t{1} << 30;

const EVP_CIPHER* cipherFor(size_t keyLength) {
  static Cipher aes128("AES-128-GCM"), aes192("AES-192-GCM"), aes256("AES-256-GCM");
  switch (keyLength) {
    case 16:
      return aes128.get();
    case 24:
      return aes192.get();
    case 32:
      return aes256.get();
    default:
      return nullptr;
  }
}

}  // namespace

Gcm::Gcm(Direction direction, Span key, size_t ivLength) : direction_(direction), ivLength_(ivLength) {
  EVP_CIPHER_CTX* const context = context_.get();
  const EVP_CIPHER* const cipher = cipherFor(key.length);
  if (context == nullptr || cipher == nullptr) return;
  // The IV length goes in before key and IV: OpenSSL before 3.0.12 applied it late (CVE-2023-5363).
  const int seals = direction == Direction::seal ? 1 : 0;
  keyed_ = EVP_CipherInit_ex2(context, cipher, nullptr, nullptr, seals, nullptr) == 1 &&
           EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_IVLEN, static_cast<int>(ivLength), nullptr) == 1 &&
           EVP_CipherInit_ex2(context, nullptr, key.data, nullptr, -1, nullptr) == 1;
}

Status Gcm::seal(Span iv, Span aad, Span plaintext, MutableSpan out) {
  if (direction_ != Direction::seal || iv.length != ivLength_ || plaintext.length > kMaxGcmLength ||
      out.length != plaintext.length + kTagLength) {
    return Status::invalid;
  }
  if (overlap(plaintext, out) || overlap(aad, out) || overlap(iv, out)) return Status::overlapping;
  if (sealDetached(iv, aad, plaintext, out.data, out.data + plaintext.length)) return Status::ok;
  wipe(out);
  return Status::failed;
}

bool Gcm::sealDetached(Span iv, Span aad, Span plaintext, uint8_t* out, uint8_t* tag) {
  return start(iv, aad) && update(plaintext, out) && computedTag(tag);
}

bool Gcm::decryptUnverified(Span iv, Span ciphertext, uint8_t* out, uint8_t* tag) {
  // OpenSSL tells the tag it computed to a sealer only. Turning the context round, with neither key nor IV, changes
  // nothing but who asks. A second pass over the ciphertext would be the other way.
  constexpr int kSeal = 1, kOpen = 0;
  EVP_CIPHER_CTX* const context = context_.get();
  return start(iv, {}) && update(ciphertext, out) &&
         EVP_CipherInit_ex2(context, nullptr, nullptr, nullptr, kSeal, nullptr) == 1 && computedTag(tag) &&
         EVP_CipherInit_ex2(context, nullptr, nullptr, nullptr, kOpen, nullptr) == 1;
}

bool Gcm::computedTag(uint8_t* tag) {
  int none = 0;
  return EVP_CipherFinal_ex(context_.get(), tag, &none) == 1 && none == 0 &&
         EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_GET_TAG, kTagLength, tag) == 1;
}

Status Gcm::open(Span iv, Span aad, Span sealed, MutableSpan out) {
  if (direction_ != Direction::open || iv.length != ivLength_ || sealed.length < kTagLength ||
      sealed.length - kTagLength > kMaxGcmLength || out.length != sealed.length - kTagLength) {
    return Status::invalid;
  }
  if (overlap(sealed, out) || overlap(aad, out) || overlap(iv, out)) return Status::overlapping;
  // EVP_CTRL_AEAD_SET_TAG only copies from here.
  uint8_t* const tag = const_cast<uint8_t*>(sealed.data + out.length);
  Status status = Status::failed;
  if (start(iv, aad) && update(sealed.sub(0, out.length), out.data) &&
      EVP_CIPHER_CTX_ctrl(context_.get(), EVP_CTRL_AEAD_SET_TAG, kTagLength, tag) == 1) {
    int none = 0;
    uint8_t unused[kTagLength];
    status = EVP_DecryptFinal_ex(context_.get(), unused, &none) == 1 ? Status::ok : Status::unauthentic;
  }
  if (status != Status::ok) wipe(out);
  return status;
}

bool Gcm::start(Span iv, Span aad) {
  return keyed_ && EVP_CipherInit_ex2(context_.get(), nullptr, nullptr, iv.data, -1, nullptr) == 1 &&
         update(aad, nullptr);
}

bool Gcm::update(Span input, uint8_t* out) {
  for (size_t done = 0; done < input.length;) {
    const size_t count = std::min(input.length - done, kMaxUpdate);
    int written = 0;
    if (EVP_CipherUpdate(context_.get(), out == nullptr ? nullptr : out + done, &written, input.data + done,
                         static_cast<int>(count)) != 1 ||
        static_cast<size_t>(written) != count) {
      return false;
    }
    done += count;
  }
  return true;
}

}  // namespace sealwax
