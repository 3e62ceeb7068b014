#include "ngrams.hpp"

#include <algorithm>

#include "text.hpp"

namespace py = pybind11;

namespace llmill {

namespace {

constexpr uint64_t RUN_BASE = 0x9E3779B97F4A7C15ULL;    // polynomial over word hashes, modulo 2^64
constexpr uint64_t LENGTH_BASE = 0xC2B2AE3D27D4EB4FULL;  // keeps runs of different lengths apart
constexpr uint64_t MULTIPLIER = 0xD6E8FEB86659FD93ULL;

uint64_t finish(uint64_t x) {
    for (int round = 0; round < 2; ++round) {
        x ^= x >> 32;
        x *= MULTIPLIER;
    }
    return x ^ (x >> 32);
}

// prefix[i] is the polynomial of the first i words; a run's follows from two of them.
std::vector<uint64_t> prefixes(const std::vector<uint64_t>& hashes) {
    std::vector<uint64_t> prefix(hashes.size() + 1);
    for (size_t i = 0; i < hashes.size(); ++i) prefix[i + 1] = prefix[i] * RUN_BASE + hashes[i];
    return prefix;
}

uint64_t power(size_t exponent) {
    uint64_t result = 1, base = RUN_BASE;
    for (; exponent; exponent >>= 1, base *= base)
        if (exponent & 1) result *= base;
    return result;
}

uint64_t run_key(const std::vector<uint64_t>& prefix, size_t first, size_t length, uint64_t power_of_length) {
    return finish(prefix[first + length] - prefix[first] * power_of_length + length * LENGTH_BASE);
}

template <class T>
py::array_t<T> to_array(const std::vector<T>& values) {
    return py::array_t<T>(values.size(), values.data());
}

Py_UCS4 lower(Py_UCS4 c) {
    if (c < 128) return c >= 'A' && c <= 'Z' ? c + 32 : c;
    return Py_UNICODE_TOLOWER(c);
}

}  // namespace

NgramIndex::NgramIndex(py::bytes kinds, py::array_t<uint64_t> keys, py::array_t<uint32_t> lengths)
    : kinds_(kinds), keys_(keys.data(), keys.data() + keys.size()) {
    if (kinds_.size() != 0x110000) throw std::invalid_argument("kinds must hold a byte for each of 1,114,112 code points");
    if (keys.size() != lengths.size()) throw std::invalid_argument("as many lengths as keys");
    if (keys_.size() >= UINT32_MAX) throw std::invalid_argument("more than 2^32 - 2 keys");
    lengths_.assign(lengths.data(), lengths.data() + lengths.size());
    std::sort(lengths_.begin(), lengths_.end());
    lengths_.erase(std::unique(lengths_.begin(), lengths_.end()), lengths_.end());
    size_t slots = 64;
    while (slots < 2 * keys_.size()) slots *= 2;
    slots_.assign(slots, 0);
    slot_mask_ = slots - 1;
    seen_.assign(slots / 8, 0);  // 8 bits a slot, 16 or more a key
    bit_mask_ = slots * 8 - 1;
    for (size_t i = 0; i < keys_.size(); ++i) {
        const uint64_t bit = keys_[i] & bit_mask_;
        seen_[bit >> 6] |= 1ULL << (bit & 63);
        size_t slot = keys_[i] & slot_mask_;
        while (slots_[slot]) slot = (slot + 1) & slot_mask_;
        slots_[slot] = static_cast<uint32_t>(i + 1);
    }
}

int64_t NgramIndex::row(uint64_t key) const {
    const uint64_t bit = key & bit_mask_;
    if (!(seen_[bit >> 6] >> (bit & 63) & 1)) return -1;
    for (size_t slot = key & slot_mask_; slots_[slot]; slot = (slot + 1) & slot_mask_)
        if (keys_[slots_[slot] - 1] == key) return slots_[slot] - 1;
    return -1;
}

PlacedWords NgramIndex::place(PyObject* text, std::vector<size_t>* line_ends) const {
    PlacedWords words;
    with_characters(text, [&](auto* characters, Py_ssize_t length) {
        words.hashes.reserve(length / 5 + 1);
        words.starts.reserve(length / 5 + 1);
        words.ends.reserve(length / 5 + 1);
        for (Py_ssize_t i = 0; i < length;) {
            if (line_ends && characters[i] == '\n') line_ends->push_back(words.hashes.size());
            Py_UCS4 c = lower(characters[i]);
            char kind = kinds_[c];
            if (kind == 0) {
                ++i;
                continue;
            }
            words.starts.push_back(i);
            uint64_t hash = static_cast<uint64_t>(c) + 1;
            ++i;
            if (kind == 1)
                for (; i < length && kinds_[c = lower(characters[i])] == 1; ++i)
                    hash = addmod(mulmod(hash, BASE), static_cast<uint64_t>(c) + 1);
            words.hashes.push_back(hash);
            words.ends.push_back(i);
        }
        return 0;
    });
    if (line_ends) line_ends->push_back(words.hashes.size());
    return words;
}

py::tuple NgramIndex::words(py::str text) const {
    const PlacedWords words = place(text.ptr(), nullptr);
    return py::make_tuple(to_array(words.hashes), to_array(words.starts), to_array(words.ends));
}

py::tuple NgramIndex::find(py::str text) const {
    const PlacedWords words = place(text.ptr(), nullptr);
    const std::vector<uint64_t> prefix = prefixes(words.hashes);
    const size_t count = words.hashes.size();
    std::vector<uint64_t> powers;
    for (const uint32_t length : lengths_) powers.push_back(power(length));
    std::vector<int64_t> positions, rows;
    for (size_t i = 0; i < count; ++i)
        for (size_t k = 0; k < lengths_.size() && i + lengths_[k] <= count; ++k) {
            const int64_t found = row(run_key(prefix, i, lengths_[k], powers[k]));
            if (found < 0) continue;
            positions.push_back(static_cast<int64_t>(i));
            rows.push_back(found);
        }
    return py::make_tuple(to_array(positions), to_array(rows));
}

py::tuple NgramIndex::find_lines(py::str text, size_t min_words) const {
    std::vector<size_t> line_ends;
    const PlacedWords words = place(text.ptr(), &line_ends);
    const std::vector<uint64_t> prefix = prefixes(words.hashes);
    std::vector<int64_t> positions, rows;
    size_t begin = 0;
    for (const size_t end : line_ends) {
        const size_t length = end - begin;
        if (length > 0 && length >= min_words) {
            const int64_t found = row(run_key(prefix, begin, length, power(length)));
            if (found >= 0) {
                positions.push_back(static_cast<int64_t>(begin));
                rows.push_back(found);
            }
        }
        begin = end;
    }
    return py::make_tuple(to_array(positions), to_array(rows));
}

}  // namespace llmill
