#include "gcm.h"

#include "check.h"

using namespace sealwax;

int main() {
  // The GCM specification, test case 16.
  const Bytes key = fromHex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308");
  const Bytes iv = fromHex("cafebabefacedbaddecaf888");
  const Bytes aad = fromHex("feedfacedeadbeeffeedfacedeadbeefabaddad2");
  const Bytes plaintext = fromHex(
      "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
      "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39");
  const Bytes expected = fromHex(
      "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
      "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662"
      "76fc6ece0f4e1768cddf8853bb2d551b");
  Bytes sealed(expected.size());
  Bytes opened(plaintext.size());
  {
    Gcm gcm(Gcm::Direction::seal, view(key));
    // Twice: the second runs on a context that holds another operation's IV.
    for (int i = 0; i < 2; i++) {
      check(gcm.seal(view(iv), view(aad), view(plaintext), span(sealed)) == Status::ok && sealed == expected, "seals");
    }
    check(gcm.open(view(iv), view(aad), view(sealed), span(opened)) == Status::invalid, "a sealer does not open");
    Bytes longIv(16);
    check(gcm.seal(view(longIv), view(aad), view(plaintext), span(sealed)) == Status::invalid, "refuses a 16-byte IV");
    check(gcm.seal(view(iv), view(aad), view(plaintext), span(opened)) == Status::invalid, "refuses a short output");
    MutableSpan inPlace = span(sealed);
    check(gcm.seal(view(iv), view(aad), inPlace.sub(0, plaintext.size()), inPlace) == Status::overlapping,
          "refuses in place");
    // Nothing is touched: there need not be so much.
    check(gcm.seal(view(iv), view(aad), {sealed.data(), kMaxGcmLength + 1},
                   {sealed.data(), kMaxGcmLength + 1 + kTagLength}) == Status::invalid,
          "seals no more than one IV may");
    for (const Span part : {Span(inPlace.sub(0, kIvLength)), Span(inPlace.sub(sealed.size() - kIvLength, kIvLength))}) {
      check(gcm.seal(part, view(aad), view(plaintext), inPlace) == Status::overlapping, "refuses over the IV");
      check(gcm.seal(view(iv), part, view(plaintext), inPlace) == Status::overlapping, "refuses over the AAD");
    }
  }
  Gcm gcm(Gcm::Direction::open, view(key));
  check(gcm.open(view(iv), view(aad), view(expected), span(opened)) == Status::ok && opened == plaintext, "opens");
  check(gcm.seal(view(iv), view(aad), view(plaintext), span(sealed)) == Status::invalid, "an opener does not seal");
  check(gcm.open(view(iv), view(aad), {sealed.data(), kMaxGcmLength + 1 + kTagLength},
                 {sealed.data(), kMaxGcmLength + 1}) == Status::invalid,
        "opens no more than one IV may seal");
  const MutableSpan out = span(opened);
  check(gcm.open(out.sub(0, kIvLength), view(aad), view(expected), out) == Status::overlapping, "refuses over the IV");
  check(gcm.open(view(iv), out.sub(0, 1), view(expected), out) == Status::overlapping, "refuses over the AAD");
  for (size_t i = 0; i < expected.size(); i++) {
    Bytes tampered = expected;
    tampered[i] ^= 0x80;
    opened.assign(opened.size(), 1);
    check(gcm.open(view(iv), view(aad), view(tampered), span(opened)) == Status::unauthentic, "refuses a changed byte");
    check(allZero(opened), "wipes the output");
  }
  Bytes none;
  Bytes tag(kTagLength);
  check(Gcm(Gcm::Direction::seal, view(key)).seal(view(iv), view(none), view(none), span(tag)) == Status::ok,
        "seals nothing");
  check(gcm.open(view(iv), view(none), view(tag), span(none)) == Status::ok, "opens nothing");
  check(gcm.open(view(iv), view(none), view(none), span(none)) == Status::invalid, "refuses less than a tag");

  Bytes shortKey(31);
  check(Gcm(Gcm::Direction::seal, view(shortKey)).seal(view(iv), view(none), view(none), span(tag)) == Status::failed,
        "refuses a 31-byte key");
  check(allZero(tag), "wipes the output");
  checkNoErrorLeft();
  return 0;
}
