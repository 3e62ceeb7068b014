// Runs of words looked up in a set of 64-bit keys, as data_pipeline.decontaminate.ngrams describes.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <vector>

namespace llmill {

struct PlacedWords {
    std::vector<uint64_t> hashes;         // polynomial of the lower-cased characters
    std::vector<int64_t> starts, ends;    // characters of the text
};

class NgramIndex {
   public:
    // `kinds`: a byte for each code point as minhash.words.character_kinds gives them; `keys[i]` stands for a run of
    // `lengths[i]` words; keys are distinct.
    NgramIndex(pybind11::bytes kinds, pybind11::array_t<uint64_t> keys, pybind11::array_t<uint32_t> lengths);

    // (hashes, starts, ends) of the words.
    pybind11::tuple words(pybind11::str text) const;
    // (first word, row of `keys`) of every run of words that is in the set, by position and then by length.
    pybind11::tuple find(pybind11::str text) const;
    // The same for whole lines of at least `min_words` words.
    pybind11::tuple find_lines(pybind11::str text, size_t min_words) const;

   private:
    PlacedWords place(PyObject* text, std::vector<size_t>* line_ends) const;
    // Row of `key`, or -1.
    int64_t row(uint64_t key) const;

    std::string kinds_;
    std::vector<uint64_t> keys_;
    std::vector<uint32_t> lengths_;  // distinct, ascending
    std::vector<uint64_t> seen_;     // a bit for each remainder of a key: most words are dismissed by it
    std::vector<uint32_t> slots_;    // open addressing: row + 1, or 0
    uint64_t bit_mask_, slot_mask_;
};

}  // namespace llmill
