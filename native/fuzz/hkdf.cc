#include "hkdf.h"

#include <vector>

// Keys, salts, infos and outputs of any length.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 6) return 0;
  const sealwax::Span input{data + 6, size - 6};
  const size_t keyLength = data[1] % (input.length + 1);
  const size_t saltLength = data[2] % (input.length - keyLength + 1);
  const sealwax::Span info = input.sub(keyLength + saltLength, input.length - keyLength - saltLength);
  std::vector<uint8_t> first(data[3] * 80), second(data[4]);
  const sealwax::HkdfOutput outputs[] = {{info, {first.data(), first.size()}}, {info, {second.data(), second.size()}}};
  sealwax::hkdf(static_cast<sealwax::Hash>(data[0] % 3), input.sub(0, keyLength), input.sub(keyLength, saltLength),
                outputs, data[5] % 3);
  return 0;
}
