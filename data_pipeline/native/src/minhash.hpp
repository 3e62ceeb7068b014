// MinHash signatures, as data_pipeline.minhash describes them.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <vector>

namespace llmill {

// Cuts texts into words and computes signatures over shingles of their hashes.
class MinHash {
   public:
    using Codes = pybind11::array_t<uint32_t, pybind11::array::c_style | pybind11::array::forcecast>;

    // `characters`: for each code point its normalised form times 4, plus 0 (separates words), 1 (part of a word), 2 (a
    // word of its own) or 3 (its form depends on its neighbours: the text must be normalised in Python first).
    MinHash(const Codes& characters, size_t shingle_words, const Codes& multipliers, const Codes& offsets);

    // uint64 [words]; None for a text with a character of kind 3.
    pybind11::object word_hashes(pybind11::str text) const;

    // Fills out[i] with the signature of texts[i]; the indices left undone, which hold a character of kind 3. The
    // interpreter's lock is released meanwhile: threads run side by side.
    std::vector<size_t> signatures(const pybind11::list& texts, pybind11::array_t<uint32_t> out) const;

   private:
    struct Words {  // kept from text to text, so that memory is asked for once
        std::vector<uint64_t> hashes;
        size_t count = 0;
        void reserve(size_t size) {
            if (hashes.size() < size) hashes.resize(size);
        }
    };
    std::vector<uint32_t> characters_, multipliers_, offsets_;
    size_t shingle_words_;

    template <class Unit>
    bool hash_words(const Unit* text, size_t length, Words& words) const;
    void sign(const Words& words, uint32_t* signature) const;
};

}  // namespace llmill
