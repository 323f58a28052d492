// Vectors of the width that the processor has, by the vector extension of GCC and Clang.
#pragma once

#include <cstring>

namespace cloud_removal {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kVectors = 4;  // side by side in a tile: with five sums each, 20 of 32 registers
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
constexpr int kVectors = 2;  // 10 of 16 registers
#else
constexpr int kVectorBytes = 16;
constexpr int kVectors = 2;
#endif

template <typename T>
struct Lanes {
  typedef T Vector __attribute__((vector_size(kVectorBytes)));
  static constexpr int kCount = kVectorBytes / sizeof(T);

  static inline Vector load(const T* from) {
    Vector value;
    std::memcpy(&value, from, sizeof(Vector));
    return value;
  }
  static inline void store(T* to, Vector value) { std::memcpy(to, &value, sizeof(Vector)); }
};

}  // namespace cloud_removal
