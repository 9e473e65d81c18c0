#include "ecdsa.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/params.h>

#include "evp.h"
#include "secret.h"

namespace sealwax {
namespace {

struct BnFree {
  void operator()(BIGNUM* number) const noexcept { BN_clear_free(number); }
};
constexpr size_t kMaxScalarLength = 48;

size_t scalarLengthOf(Curve curve) {
  return curve == Curve::p256 ? 32 : 48;
}

// A key of the curve and one more parameter.
EvpOwner<EVP_PKEY> keyFrom(Curve curve, const OSSL_PARAM& number, int selection) {
  char name[2][6] = {"P-256", "P-384"};
  OSSL_PARAM params[] = {
      OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, name[static_cast<int>(curve)], 0),
      number,
      OSSL_PARAM_construct_end(),
  };
  const EvpOwner<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_from_name(nullptr, "EC", nullptr));
  EVP_PKEY* key = nullptr;
  if (!context || EVP_PKEY_fromdata_init(context.get()) != 1) return nullptr;
  const bool made = EVP_PKEY_fromdata(context.get(), &key, selection, params) == 1;
  EvpOwner<EVP_PKEY> owner(key);
  return made ? std::move(owner) : nullptr;
}

// What a failure means that is the data's, if not memory's.
Status failure(Status otherwise) {
  return ranOutOfMemory() ? Status::failed : otherwise;
}

}  // namespace

Status signDigest(Curve curve, Span scalar, Span digest, MutableSpan signature, size_t& length) {
  const ErrorScope errors;
  if (scalar.length != scalarLengthOf(curve) || signature.length < kMaxSignatureLength) return Status::invalid;
  if (overlap(scalar, signature) || overlap(digest, signature)) return Status::overlapping;
  // OSSL_PARAM wants the machine's byte order.
  SecretBytes<kMaxScalarLength> native;
  const std::unique_ptr<BIGNUM, BnFree> number(BN_secure_new());
  const int size = static_cast<int>(scalar.length);
  if (!number || BN_bin2bn(scalar.data, size, number.get()) == nullptr ||
      BN_bn2nativepad(number.get(), native.data(), size) != size) {
    return Status::failed;
  }
  const EvpOwner<EVP_PKEY> key =
      keyFrom(curve, OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_PRIV_KEY, native.data(), scalar.length), EVP_PKEY_KEYPAIR);
  if (!key) return failure(Status::invalid);
  const EvpOwner<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  if (!context) return Status::failed;
  // 1 to the order less 1, which reading it does not check.
  if (EVP_PKEY_private_check(context.get()) != 1) return failure(Status::invalid);
  length = signature.length;
  const bool made = EVP_PKEY_sign_init(context.get()) == 1 &&
                    EVP_PKEY_sign(context.get(), signature.data, &length, digest.data, digest.length) == 1;
  return made ? Status::ok : Status::failed;
}

Status verifyDigest(Curve curve, Span point, Span digest, Span signature) {
  const ErrorScope errors;
  const size_t coordinate = scalarLengthOf(curve);
  if (point.length != 1 + coordinate && point.length != 1 + 2 * coordinate) return Status::invalid;
  // OSSL_PARAM only reads from here.
  void* const bytes = const_cast<uint8_t*>(point.data);
  const EvpOwner<EVP_PKEY> key = keyFrom(
      curve, OSSL_PARAM_construct_octet_string(OSSL_PKEY_PARAM_PUB_KEY, bytes, point.length), EVP_PKEY_PUBLIC_KEY);
  if (!key) return failure(Status::invalid);
  const EvpOwner<EVP_PKEY_CTX> context(EVP_PKEY_CTX_new_from_pkey(nullptr, key.get(), nullptr));
  if (!context || EVP_PKEY_verify_init(context.get()) != 1) return Status::failed;
  const int verified = EVP_PKEY_verify(context.get(), signature.data, signature.length, digest.data, digest.length);
  return verified == 1 ? Status::ok : failure(Status::unauthentic);
}

}  // namespace sealwax
