// A text cut into words once, and what Gopher's rules count over them.
#pragma once

#include <pybind11/pybind11.h>

#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "text.hpp"

namespace llmill {

struct Token {
    uint32_t start;
    uint32_t length;
    uint64_t hash;  // polynomial(characters)
    bool symbol;    // only characters of PUNCTUATION_SET
    bool letter;    // at least one letter
};

class WordSet {
   public:
    explicit WordSet(const std::vector<pybind11::str>& words);
    bool contains(uint64_t hash) const { return hashes_.count(hash) > 0; }

   private:
    std::unordered_set<uint64_t> hashes_;
};

// The words of a text as data_pipeline.heuristics.tokenise.split_words gives them.
class Tokens {
   public:
    explicit Tokens(pybind11::str text);

    size_t size() const { return tokens_.size(); }
    pybind11::list words() const;
    // (words that are no punctuation, characters in them)
    std::pair<size_t, size_t> plain_words() const;
    // Words with a letter.
    size_t letter_words() const;
    // Different words of `set` in the text.
    size_t distinct(const WordSet& set) const;
    // (characters of the most frequent n-gram joined by blanks, occurrences); the first one on a tie; (0, 0) if none.
    std::pair<size_t, size_t> top_n_gram(size_t n) const;
    // Characters in n-grams that occurred before, scanning left to right and skipping past each one found.
    size_t duplicate_n_gram_characters(size_t n) const;

   private:
    pybind11::str text_;
    std::vector<Token> tokens_;
    std::vector<uint32_t> ends_;           // characters in the first k words
    mutable std::vector<uint64_t> powers_;    // BASE^k
    mutable std::vector<uint64_t> prefixes_;  // hashes of the characters of the first k words
    uint64_t power(size_t exponent) const;
    uint64_t joined(size_t first, size_t n) const;  // hash of n words without blanks, as datatrove compares them
};

}  // namespace llmill
