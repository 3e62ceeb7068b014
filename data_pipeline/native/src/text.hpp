// Characters of Python strings: iteration without copies, and the classes that Python's own tables give them.
#pragma once

#include <Python.h>

#include <cstdint>
#include <stdexcept>
#include <vector>

namespace llmill {

enum Class : uint8_t {
    WORD = 1,          // \w of Python's re: a letter, digit or underscore
    SPACE = 2,         // \s of Python's re, str.strip
    ALPHA = 4,         // str.isalpha
    LINE_BREAK = 8,    // where str.splitlines cuts
    PUNCTUATION = 16,  // datatrove's PUNCTUATION_SET
    TERMINAL = 32,     // datatrove's TERMINAL_PUNCTUATION
    MARK = 64,         // continues a word: combining marks, joiners
    ALONE = 128,       // a word of its own: letters of scripts without blanks
};

inline uint8_t python_class(Py_UCS4 c) {
    uint8_t flags = 0;
    if (Py_UNICODE_ISALNUM(c) || c == '_') flags |= WORD;
    if (Py_UNICODE_ISSPACE(c)) flags |= SPACE;
    if (Py_UNICODE_ISALPHA(c)) flags |= ALPHA;
    if (Py_UNICODE_ISLINEBREAK(c)) flags |= LINE_BREAK;
    return flags;
}

// Flags of every code point; one table of 1.1 MB for each process.
class Classes {
   public:
    Classes() : flags_(0x110000) {
        for (Py_UCS4 c = 0; c < flags_.size(); ++c) flags_[c] = python_class(c);
    }
    uint8_t operator[](Py_UCS4 c) const { return flags_[c]; }
    // Marks each character of `characters`, a Python string.
    void add(PyObject* characters, uint8_t flag) {
        for (Py_ssize_t i = 0; i < PyUnicode_GET_LENGTH(characters); ++i)
            flags_[PyUnicode_READ_CHAR(characters, i)] |= flag;
    }

   private:
    std::vector<uint8_t> flags_;
};

extern Classes* classes;  // made when the module is imported

// Calls f(const Unit* characters, Py_ssize_t length) with the string's own storage.
template <class F>
auto with_characters(PyObject* text, F&& f) {
    if (!PyUnicode_Check(text)) throw std::invalid_argument("expected a str");
    const Py_ssize_t length = PyUnicode_GET_LENGTH(text);
    switch (PyUnicode_KIND(text)) {
        case PyUnicode_1BYTE_KIND:
            return f(PyUnicode_1BYTE_DATA(text), length);
        case PyUnicode_2BYTE_KIND:
            return f(PyUnicode_2BYTE_DATA(text), length);
        default:
            return f(PyUnicode_4BYTE_DATA(text), length);
    }
}

// Polynomial hashes modulo the Mersenne prime 2^61 - 1: two different strings of L characters collide with probability
// at most L / 2^61, and hashes of concatenations follow from hashes of the parts.
constexpr uint64_t PRIME = (1ULL << 61) - 1;
constexpr uint64_t BASE = 0x12B5D0A3F4C69E27ULL % PRIME;

inline uint64_t mulmod(uint64_t a, uint64_t b) {
    const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
    uint64_t sum = static_cast<uint64_t>(product & PRIME) + static_cast<uint64_t>(product >> 61);
    return sum >= PRIME ? sum - PRIME : sum;
}
inline uint64_t addmod(uint64_t a, uint64_t b) {
    const uint64_t sum = a + b;
    return sum >= PRIME ? sum - PRIME : sum;
}
inline uint64_t submod(uint64_t a, uint64_t b) { return a >= b ? a - b : a + PRIME - b; }

template <class Unit>
uint64_t polynomial(const Unit* begin, const Unit* end) {
    uint64_t hash = 0;
    for (; begin != end; ++begin) hash = addmod(mulmod(hash, BASE), static_cast<uint64_t>(*begin) + 1);
    return hash;
}

// Spreads the bits of a hash, for its place in a table.
inline uint64_t mix(uint64_t x) {
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93ULL;
    x ^= x >> 32;
    return x;
}

// Hash table of 64-bit keys with a count and the number of the first occurrence; open addressing, cleared by remaking.
class Counts {
   public:
    struct Slot {
        uint64_t key;
        uint32_t count;  // 0: free
        uint32_t first;
    };
    explicit Counts(size_t entries) {
        size_t size = 16;
        while (size < 2 * entries) size *= 2;
        slots_.assign(size, Slot{0, 0, 0});
        mask_ = size - 1;
    }
    // The slot of `key`, with its count before this call raised by one.
    Slot& add(uint64_t key, uint32_t position) {
        size_t i = mix(key) & mask_;
        while (slots_[i].count && slots_[i].key != key) i = (i + 1) & mask_;
        Slot& slot = slots_[i];
        if (!slot.count) slot = Slot{key, 0, position};
        ++slot.count;
        return slot;
    }

   private:
    std::vector<Slot> slots_;
    size_t mask_;
};

}  // namespace llmill
