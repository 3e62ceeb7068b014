// Numbers that describe each block of a page, for the trees that judge it.
#pragma once

#include <unordered_map>
#include <vector>

#include "html.hpp"

namespace llmill::html {

// Weights of words: of the text, of headings, of class names near and far.
using Weights = std::unordered_map<uint32_t, float>;

enum Salt : uint32_t {
    TEXT_WORD = 1,
    SHORT_WORD,
    HEADING_WORD,
    OWN_NAME,
    PARENT_NAME,
    ANCESTOR_NAME,
    INLINE_NAME,
    OWN_TAG,
    PARENT_TAG,
    ANCESTOR_TAG
};
inline uint32_t salted(uint32_t hash, uint32_t salt) { return (hash ^ (salt * 0x9E3779B1u)) * 0x85EBCA6Bu; }

// What is measured on the text of a block alone.
struct TextStats {
    double length = 0;      // characters; an ideograph counts three
    double solid = 0;       // characters that are not white space
    double words = 0;
    double sentences = 0, commas = 0, digits = 0, uppers = 0, pipes = 0, wides = 0;
    uint32_t hash = 0;      // of its letters and digits in lower case
    bool ends_sentence = false, ends_colon = false, starts_upper = false, starts_digit = false;
    bool copyright = false, money = false, at = false, lower_start = false;
    double title_share = 0, description_share = 0;  // words that also stand in the title, in the description
};

struct Analysis {
    std::vector<TextStats> stats;
    std::vector<std::vector<uint32_t>> words;  // of each block, hashed; the first 120
    std::vector<int32_t> heading;              // the last heading before each block, or -1
};

struct Matrix {
    size_t rows = 0, columns = 0;
    std::vector<float> values;
    const float* row(size_t i) const { return values.data() + i * columns; }
};

Analysis analyse(const Page& page, const std::vector<uint32_t>& title, const std::vector<uint32_t>& description);
// The first words of a text, hashed; ideographs are words; digits are all alike unless told otherwise.
std::vector<uint32_t> hashed_words(const Py_UCS4* begin, const Py_UCS4* end, size_t limit, bool same_digits = true);
Matrix features(const Page& page, const Analysis& analysis, const Weights& weights);
// Features for the second look, which add the first look's scores of a block's surroundings.
Matrix context(const Page& page, const Analysis& analysis, const Matrix& first, const std::vector<double>& scores);

}  // namespace llmill::html
