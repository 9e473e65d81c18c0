#include "ecdsa.h"

#include "check.h"
#include "digest.h"

using namespace sealwax;

int main() {
  // RFC 6979, A.2.6: P-384 with SHA-384 of "sample".
  const Bytes scalar =
      fromHex("6b9d3dad2e1b8c1c05b19875b6659f4de23c3b667bf297ba9aa47740787137d896d5724e4c70a825f872c9ea60d2edf5");
  const Bytes point = fromHex(
      "04ec3a4e415b4e19a4568618029f427fa5da9a8bc4ae92e02e06aae5286b300c64def8f0ea9055866064a254515480bc13"
      "8015d9b72d7d57244ea8ef9ac0c621896708a59367f9dfb9f54ca84b3f1c9db1288b231c3ae0d4fe7344fd2533264720");
  const Bytes published = fromHex(
      "30660231009"
      "4edbb92a5ecb8aad4736e56c691916b3f88140666ce9fa73d64c4ea95ad133c81a648152e44acf96e36dd1e80fabe46"
      "02310099ef4aeb15f178cea1fe40db2603138f130e740a19624526203b6351d0a3a94fa329c145786e679e7b82c71a38628ac8");
  Bytes sample = {'s', 'a', 'm', 'p', 'l', 'e'}, digest(48);
  Digest hash(Hash::sha384);
  check(hash.update(view(sample).sub(0, 2)) && hash.update({}) && hash.update(view(sample).sub(2, 4)), "hashes");
  check(hash.length() == 48 && hash.finish(digest.data()), "finishes");
  check(!hash.update(view(sample)) && !hash.finish(digest.data()), "a hash finishes once");
  check(verifyDigest(Curve::p384, view(point), view(digest), view(published)) == Status::ok,
        "verifies what is published");

  Bytes compressed(point.begin(), point.begin() + 49);
  for (const uint8_t sign : {uint8_t{2}, uint8_t{3}}) {
    compressed[0] = sign;
    const bool same = sign == (point[96] & 1) + 2;
    check(verifyDigest(Curve::p384, view(compressed), view(digest), view(published)) ==
              (same ? Status::ok : Status::unauthentic),
          "takes a compressed point");
  }

  Bytes signature(kMaxSignatureLength);
  size_t length = 0;
  for (int i = 0; i < 20; i++) {
    check(signDigest(Curve::p384, view(scalar), view(digest), span(signature), length) == Status::ok, "signs");
    const Span der = view(signature).sub(0, length);
    check(verifyDigest(Curve::p384, view(point), view(digest), der) == Status::ok, "verifies what it signed");
    check(verifyDigest(Curve::p384, view(point), view(digest), der.sub(0, length - 1)) == Status::unauthentic,
          "refuses a signature cut short");
  }
  for (size_t i = 0; i < published.size(); i++) {
    Bytes changed = published;
    changed[i] ^= 1;
    check(verifyDigest(Curve::p384, view(point), view(digest), view(changed)) == Status::unauthentic,
          "refuses a changed signature");
  }
  Bytes longForm = published;
  longForm.insert(longForm.begin() + 1, 0x81);
  check(verifyDigest(Curve::p384, view(point), view(digest), view(longForm)) == Status::unauthentic, "DER only");
  Bytes trailing = published;
  trailing.push_back(0);
  check(verifyDigest(Curve::p384, view(point), view(digest), view(trailing)) == Status::unauthentic,
        "refuses bytes after a signature");
  Bytes other = digest;
  other[0] ^= 1;
  check(verifyDigest(Curve::p384, view(point), view(other), view(published)) == Status::unauthentic,
        "refuses another hash");

  Bytes off = point;
  off[96] ^= 1;
  check(verifyDigest(Curve::p384, view(off), view(digest), view(published)) == Status::invalid, "refuses no point");
  check(verifyDigest(Curve::p256, view(point), view(digest), view(published)) == Status::invalid,
        "refuses a point of another curve");
  for (const uint8_t byte : {uint8_t{0}, uint8_t{0xff}}) {
    const Bytes bad(48, byte);
    check(signDigest(Curve::p384, view(bad), view(digest), span(signature), length) != Status::ok,
          "refuses 0 and what passes the order");
  }
  check(signDigest(Curve::p256, view(scalar), view(digest), span(signature), length) == Status::invalid,
        "refuses a scalar of another curve");
  checkNoErrorLeft();
  return 0;
}
