// MinHash signatures, as data_pipeline.minhash describes them.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

namespace llmill {

// Cuts normalised texts into words and computes signatures over shingles of their hashes.
class MinHash {
   public:
    // `kinds`: for each code point 0 (separator), 1 (part of a word) or 2 (a word of its own)
    MinHash(pybind11::bytes kinds, size_t shingle_words, pybind11::array_t<uint64_t> multipliers,
            pybind11::array_t<uint64_t> offsets);
    pybind11::array_t<uint64_t> word_hashes(pybind11::str text) const;
    pybind11::array_t<uint64_t> signature(pybind11::str text) const;

   private:
    std::string kinds_;
    size_t shingle_words_;
    std::vector<uint64_t> multipliers_, offsets_;
    std::vector<uint64_t> hash_words(pybind11::str text) const;
};

}  // namespace llmill
