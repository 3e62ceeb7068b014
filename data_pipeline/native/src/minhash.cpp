#include "minhash.hpp"

#include <algorithm>

#include "text.hpp"

namespace py = pybind11;

namespace llmill {

namespace {

constexpr uint64_t SHINGLE_BASE = 0x9E3779B97F4A7C15ULL;  // 2^64 / golden ratio
constexpr uint64_t MULTIPLIER = 0xD6E8FEB86659FD93ULL;
constexpr size_t BLOCK = 1024;  // shingles at a time; 8 kB of hashes stay in the first-level cache over all permutations

uint64_t finish(uint64_t x) {
    for (int round = 0; round < 2; ++round) {
        x ^= x >> 32;
        x *= MULTIPLIER;
    }
    return x ^ (x >> 32);
}

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("arch=skylake-avx512", "avx2", "default")))
#endif
uint64_t smallest(const uint64_t* hashes, size_t count, uint64_t multiplier, uint64_t offset) {
    uint64_t least = UINT64_MAX;
    for (size_t i = 0; i < count; ++i) {
        const uint64_t value = hashes[i] * multiplier + offset;
        least = value < least ? value : least;
    }
    return least;
}

std::vector<uint64_t> to_vector(const py::array_t<uint64_t>& array) {
    return std::vector<uint64_t>(array.data(), array.data() + array.size());
}

}  // namespace

MinHash::MinHash(py::bytes kinds, size_t shingle_words, py::array_t<uint64_t> multipliers, py::array_t<uint64_t> offsets)
    : kinds_(kinds), shingle_words_(shingle_words), multipliers_(to_vector(multipliers)), offsets_(to_vector(offsets)) {
    if (kinds_.size() != 0x110000) throw std::invalid_argument("kinds must hold a byte for each of 1,114,112 code points");
    if (multipliers_.size() != offsets_.size()) throw std::invalid_argument("as many multipliers as offsets");
    if (shingle_words_ == 0) throw std::invalid_argument("shingle_words must be at least 1");
}

std::vector<uint64_t> MinHash::hash_words(py::str text) const {
    std::vector<uint64_t> hashes;
    with_characters(text.ptr(), [&](auto* characters, Py_ssize_t length) {
        hashes.reserve(length / 5 + 1);
        for (Py_ssize_t i = 0; i < length;) {
            const char kind = kinds_[characters[i]];
            if (kind == 0) {
                ++i;
                continue;
            }
            const Py_ssize_t start = i++;
            if (kind == 1)
                while (i < length && kinds_[characters[i]] == 1) ++i;
            hashes.push_back(polynomial(characters + start, characters + i));
        }
        return 0;
    });
    return hashes;
}

py::array_t<uint64_t> MinHash::word_hashes(py::str text) const {
    const std::vector<uint64_t> hashes = hash_words(std::move(text));
    return py::array_t<uint64_t>(hashes.size(), hashes.data());
}

py::array_t<uint64_t> MinHash::signature(py::str text) const {
    const std::vector<uint64_t> words = hash_words(std::move(text));
    py::array_t<uint64_t> result(multipliers_.size());
    uint64_t* signature = result.mutable_data();
    std::fill(signature, signature + multipliers_.size(), UINT64_MAX);
    if (words.empty()) return result;
    const size_t size = std::min(shingle_words_, words.size());
    const size_t count = words.size() - size + 1;
    uint64_t block[BLOCK];
    for (size_t start = 0; start < count; start += BLOCK) {
        const size_t filled = std::min(BLOCK, count - start);
        for (size_t i = 0; i < filled; ++i) {
            uint64_t hash = size;  // keeps a short document apart from a longer one's shingle
            for (size_t k = 0; k < size; ++k) hash = hash * SHINGLE_BASE + words[start + i + k];
            block[i] = finish(hash);
        }
        for (size_t p = 0; p < multipliers_.size(); ++p)
            signature[p] = std::min(signature[p], smallest(block, filled, multipliers_[p], offsets_[p]));
    }
    return result;
}

}  // namespace llmill
