#include "minhash.hpp"

#include <algorithm>
#include <stdexcept>

#include "text.hpp"

namespace py = pybind11;

namespace llmill {

namespace {

constexpr uint64_t WORD_SEED = 0x9FB21C651E98DF25ULL;     // as in data_pipeline/minhash/words.py
constexpr uint64_t SHINGLE_BASE = 0x9E3779B97F4A7C15ULL;  // 2^64 / golden ratio
constexpr uint64_t MULTIPLIER = 0xD6E8FEB86659FD93ULL;
constexpr size_t BLOCK = 2048;  // shingles at a time; 8 kB of hashes stay in the first-level cache over all permutations
constexpr uint32_t CODE_POINTS = 0x110000;

uint64_t finish(uint64_t x) {
    for (int round = 0; round < 2; ++round) {
        x ^= x >> 32;
        x *= MULTIPLIER;
    }
    return x ^ (x >> 32);
}

// The factor of the character at `place` in its word, odd.
uint64_t factor(uint64_t place) { return finish(WORD_SEED + place) | 1; }

struct Factors {
    static constexpr size_t COUNT = 64;
    uint64_t values[COUNT];
    Factors() {
        for (size_t i = 0; i < COUNT; ++i) values[i] = factor(i);
    }
};
const Factors factors;

// 32-bit lanes: AVX2 multiplies eight at once, where it has no 64-bit multiplication at all.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#endif
uint32_t smallest(const uint32_t* hashes, size_t count, uint32_t multiplier, uint32_t offset) {
    uint32_t least = UINT32_MAX;
    for (size_t i = 0; i < count; ++i) {
        const uint32_t value = hashes[i] * multiplier + offset;
        least = value < least ? value : least;
    }
    return least;
}

std::vector<uint32_t> to_vector(const MinHash::Codes& array) {
    return std::vector<uint32_t>(array.data(), array.data() + array.size());
}

struct Text {  // where a Python string keeps its characters
    int kind;
    const void* data;
    size_t length;
};

Text view(PyObject* text) {
    if (!PyUnicode_Check(text)) throw py::type_error("expected a list of str");
    return {static_cast<int>(PyUnicode_KIND(text)), PyUnicode_DATA(text), static_cast<size_t>(PyUnicode_GET_LENGTH(text))};
}

template <class F>
bool visit(const Text& text, F&& f) {
    if (text.kind == PyUnicode_1BYTE_KIND) return f(static_cast<const Py_UCS1*>(text.data), text.length);
    if (text.kind == PyUnicode_2BYTE_KIND) return f(static_cast<const Py_UCS2*>(text.data), text.length);
    return f(static_cast<const Py_UCS4*>(text.data), text.length);
}

}  // namespace

MinHash::MinHash(const Codes& characters, size_t shingle_words, const Codes& multipliers, const Codes& offsets)
    : characters_(to_vector(characters)),
      multipliers_(to_vector(multipliers)),
      offsets_(to_vector(offsets)),
      shingle_words_(shingle_words) {
    if (characters_.size() != CODE_POINTS)
        throw std::invalid_argument("characters must hold an entry for each of 1,114,112 code points");
    if (multipliers_.size() != offsets_.size()) throw std::invalid_argument("as many multipliers as offsets");
    if (shingle_words_ == 0) throw std::invalid_argument("shingle_words must be at least 1");
}

// A word's hash is a sum over its characters, each times a factor for its place: unlike a polynomial it does not wait for
// one multiplication after another, and without branches at the ends of words nothing is mispredicted.
template <class Unit>
bool MinHash::hash_words(const Unit* text, size_t length, Words& words) const {
    words.reserve(length + 1);
    uint64_t* const out = words.hashes.data();
    const uint32_t* const codes = characters_.data();
    size_t count = 0;
    uint64_t hash = 0, place = 0;
    for (size_t i = 0; i < length; ++i) {
        const uint32_t code = codes[text[i]];
        const uint64_t value = (code >> 2) + 1;
        if (code & 2) {  // of kind 2 or 3: rare, or all over the text
            if ((code & 3) == 3) return false;
            out[count] = hash;
            count += place != 0;
            out[count++] = value * factors.values[0];
            hash = place = 0;
            continue;
        }
        const uint64_t inside = -static_cast<uint64_t>(code & 1);
        out[count] = hash;
        count += (place != 0) & ~inside;
        hash = (hash + value * (place < Factors::COUNT ? factors.values[place] : factor(place))) & inside;
        place = (place + 1) & inside;
    }
    out[count] = hash;
    words.count = count + (place != 0);
    return true;
}

void MinHash::sign(const Words& words, uint32_t* signature) const {
    const size_t permutations = multipliers_.size();
    std::fill(signature, signature + permutations, UINT32_MAX);
    if (words.count == 0) return;
    const size_t size = std::min(shingle_words_, words.count);
    const size_t shingles = words.count - size + 1;
    uint64_t power = 1;  // of the first word of a shingle
    for (size_t k = 0; k + 1 < size; ++k) power *= SHINGLE_BASE;
    const uint64_t begin = size * power * SHINGLE_BASE;  // keeps a short document apart from a longer one's shingle
    uint64_t run = 0;  // polynomial of the `size - 1` words that the next shingle begins with
    for (size_t k = 0; k + 1 < size; ++k) run = run * SHINGLE_BASE + words.hashes[k];
    uint32_t block[BLOCK];
    for (size_t start = 0; start < shingles; start += BLOCK) {
        const size_t filled = std::min(BLOCK, shingles - start);
        for (size_t i = 0; i < filled; ++i) {
            run = run * SHINGLE_BASE + words.hashes[start + i + size - 1];
            block[i] = static_cast<uint32_t>(finish(run + begin) >> 32);
            run -= words.hashes[start + i] * power;
        }
        for (size_t p = 0; p < permutations; ++p)
            signature[p] = std::min(signature[p], smallest(block, filled, multipliers_[p], offsets_[p]));
    }
}

py::object MinHash::word_hashes(py::str text) const {
    Words words;
    const bool done = visit(view(text.ptr()), [&](auto* data, size_t length) { return hash_words(data, length, words); });
    if (!done) return py::none();
    return py::array_t<uint64_t>(words.count, words.hashes.data());
}

std::vector<size_t> MinHash::signatures(const py::list& texts, py::array_t<uint32_t> out) const {
    const size_t permutations = multipliers_.size();
    if (out.ndim() != 2 || static_cast<size_t>(out.shape(0)) != texts.size() ||
        static_cast<size_t>(out.shape(1)) != permutations || !(out.flags() & py::array::c_style))
        throw std::invalid_argument("out must be a contiguous uint32 [texts, permutations]");
    std::vector<Text> views;
    std::vector<py::object> held;  // the list may change while the lock is released
    views.reserve(texts.size());
    held.reserve(texts.size());
    for (const auto& text : texts) {
        views.push_back(view(text.ptr()));
        held.push_back(py::reinterpret_borrow<py::object>(text));
    }
    uint32_t* row = out.mutable_data();
    std::vector<size_t> undone;
    {
        py::gil_scoped_release release;
        Words words;
        for (size_t i = 0; i < views.size(); ++i, row += permutations) {
            if (visit(views[i], [&](auto* data, size_t length) { return hash_words(data, length, words); }))
                sign(words, row);
            else
                undone.push_back(i);
        }
    }
    return undone;
}

}  // namespace llmill
