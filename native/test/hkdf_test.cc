#include "hkdf.h"

#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#include <memory>

#include "check.h"

using namespace sealwax;

namespace {

Bytes openssl(const char* digest, Bytes key, Bytes salt, Bytes info, size_t length) {
  const std::unique_ptr<EVP_KDF, decltype(&EVP_KDF_free)> kdf(EVP_KDF_fetch(nullptr, "HKDF", nullptr), EVP_KDF_free);
  const std::unique_ptr<EVP_KDF_CTX, decltype(&EVP_KDF_CTX_free)> context(EVP_KDF_CTX_new(kdf.get()), EVP_KDF_CTX_free);
  const OSSL_PARAM parameters[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, const_cast<char*>(digest), 0),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, key.data(), key.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, salt.data(), salt.size()),
      OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info.data(), info.size()),
      OSSL_PARAM_construct_end(),
  };
  Bytes out(length);
  check(EVP_KDF_derive(context.get(), out.data(), length, parameters) == 1, "OpenSSL derives");
  return out;
}

}  // namespace

int main() {
  // RFC 5869, A.1.
  const Bytes key(22, 0x0b);
  const Bytes salt = fromHex("000102030405060708090a0b0c");
  const Bytes info = fromHex("f0f1f2f3f4f5f6f7f8f9");
  Bytes out(42);
  const HkdfOutput output{view(info), span(out)};
  check(hkdf(Hash::sha256, view(key), view(salt), &output, 1) == Status::ok, "derives");
  check(out == fromHex("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"),
        "RFC 5869, A.1");

  const char* const digests[] = {"SHA256", "SHA384", "SHA512"};
  for (int hash = 0; hash < 3; hash++) {
    for (const size_t length : {1, 31, 32, 33, 63, 64, 65, 500}) {
      const Bytes longSalt(length + 1, 7);
      Bytes first(length), second(2 * length);
      const HkdfOutput both[] = {{view(info), span(first)}, {view(salt), span(second)}};
      check(hkdf(static_cast<Hash>(hash), view(key), view(longSalt), both, 2) == Status::ok, "derives two");
      check(first == openssl(digests[hash], key, longSalt, info, first.size()), "the first as OpenSSL does");
      check(second == openssl(digests[hash], key, longSalt, salt, second.size()), "the second as OpenSSL does");
    }
  }

  Bytes tooLong(255 * 32 + 1);
  const HkdfOutput refused{view(info), span(tooLong)};
  check(hkdf(Hash::sha256, view(key), view(salt), &refused, 1) == Status::invalid, "refuses more than 255 hashes");
  const HkdfOutput aliased{view(out), span(out)};
  check(hkdf(Hash::sha256, view(key), view(salt), &aliased, 1) == Status::overlapping, "refuses in place");
  checkNoErrorLeft();
  return 0;
}
