#include "tokens.hpp"

#include <algorithm>

namespace py = pybind11;

namespace llmill {

WordSet::WordSet(const std::vector<py::str>& words) {
    for (const auto& word : words)
        with_characters(word.ptr(), [&](auto* characters, Py_ssize_t length) {
            hashes_.insert(polynomial(characters, characters + length));
            return 0;
        });
}

namespace {

// data_pipeline.native.characters.word_pattern
template <class Unit>
void scan(const Unit* text, Py_ssize_t length, std::vector<Token>& tokens) {
    const Classes& table = *classes;
    const auto in_run = [&](Py_ssize_t i) {
        const uint8_t flags = table[text[i]];
        return flags & (WORD | MARK) && !(flags & ALONE);
    };
    Py_ssize_t i = 0;
    while (i < length) {
        const uint8_t flags = table[text[i]];
        if (flags & SPACE && !(flags & (WORD | MARK))) {
            ++i;
            continue;
        }
        const Py_ssize_t start = i++;
        if (flags & ALONE) {
            while (i < length && table[text[i]] & MARK) ++i;
        } else if (flags & (WORD | MARK)) {
            while (i < length && in_run(i)) ++i;
            if (i + 1 < length && (text[i] == '\'' || static_cast<Py_UCS4>(text[i]) == 0x2019) && in_run(i + 1)) {
                i += 2;
                while (i < length && in_run(i)) ++i;
            }
        }
        uint8_t all = PUNCTUATION, any = 0;
        uint64_t hash = 0;
        for (Py_ssize_t k = start; k < i; ++k) {
            const Py_UCS4 c = text[k];
            all &= table[c];
            any |= table[c];
            hash = addmod(mulmod(hash, BASE), static_cast<uint64_t>(c) + 1);
        }
        tokens.push_back({static_cast<uint32_t>(start), static_cast<uint32_t>(i - start), hash,
                          (all & PUNCTUATION) != 0, (any & ALPHA) != 0});
    }
}

}  // namespace

Tokens::Tokens(py::str text) : text_(std::move(text)) {
    with_characters(text_.ptr(), [&](auto* characters, Py_ssize_t length) {
        if (static_cast<uint64_t>(length) > UINT32_MAX) throw std::invalid_argument("text of more than 2^32 characters");
        tokens_.reserve(length / 5 + 1);
        scan(characters, length, tokens_);
        return 0;
    });
    ends_.reserve(tokens_.size() + 1);
    ends_.push_back(0);
    for (const Token& token : tokens_) ends_.push_back(ends_.back() + token.length);
}

py::list Tokens::words() const {
    py::list result(tokens_.size());
    for (size_t i = 0; i < tokens_.size(); ++i) {
        const Token& token = tokens_[i];
        PyObject* word = PyUnicode_Substring(text_.ptr(), token.start, token.start + token.length);
        if (!word) throw py::error_already_set();
        PyList_SET_ITEM(result.ptr(), static_cast<Py_ssize_t>(i), word);
    }
    return result;
}

std::pair<size_t, size_t> Tokens::plain_words() const {
    size_t count = 0, characters = 0;
    for (const Token& token : tokens_)
        if (!token.symbol) {
            ++count;
            characters += token.length;
        }
    return {count, characters};
}

size_t Tokens::letter_words() const {
    return std::count_if(tokens_.begin(), tokens_.end(), [](const Token& token) { return token.letter; });
}

size_t Tokens::distinct(const WordSet& set) const {
    std::unordered_set<uint64_t> found;
    for (const Token& token : tokens_)
        if (set.contains(token.hash)) found.insert(token.hash);
    return found.size();
}

std::pair<size_t, size_t> Tokens::top_n_gram(size_t n) const {
    if (n == 0 || tokens_.size() < n) return {0, 0};
    const size_t grams = tokens_.size() - n + 1;
    Counts counts(grams);
    size_t best = 0, first = 0;
    for (size_t i = 0; i < grams; ++i) {
        uint64_t key = 0;
        // another base than the characters', so that ("ab", "c") and ("a", "bc") differ
        for (size_t k = 0; k < n; ++k) key = addmod(mulmod(key, 0x0F1D3B5A79C2E48DULL), tokens_[i + k].hash + 1);
        const Counts::Slot& slot = counts.add(key, static_cast<uint32_t>(i));
        // a tie goes to the n-gram that came first
        if (slot.count > best || (slot.count == best && slot.first < first)) {
            best = slot.count;
            first = slot.first;
        }
    }
    return {ends_[first + n] - ends_[first] + n - 1, best};
}

size_t Tokens::duplicate_n_gram_characters(size_t n) const {
    if (n == 0 || tokens_.size() < n) return 0;
    const size_t grams = tokens_.size() - n + 1;
    Counts seen(grams);
    size_t characters = 0;
    for (size_t i = 0; i < grams;) {
        uint64_t key = joined(i, n);
        if (seen.add(key, static_cast<uint32_t>(i)).count > 1) {
            characters += ends_[i + n] - ends_[i];
            i += n;
        } else {
            ++i;
        }
    }
    return characters;
}

uint64_t Tokens::power(size_t exponent) const {
    constexpr size_t TABLE = 1 << 16;
    if (powers_.empty()) powers_.push_back(1);
    while (powers_.size() <= std::min(exponent, TABLE)) powers_.push_back(mulmod(powers_.back(), BASE));
    uint64_t result = powers_[exponent % TABLE];
    for (size_t i = 0; i < exponent / TABLE; ++i) result = mulmod(result, powers_[TABLE]);
    return result;
}

// From the hashes of the texts before and up to an n-gram, which costs the same for every n.
uint64_t Tokens::joined(size_t first, size_t n) const {
    if (prefixes_.empty()) {
        prefixes_.reserve(tokens_.size() + 1);
        prefixes_.push_back(0);
        for (const Token& token : tokens_)
            prefixes_.push_back(addmod(mulmod(prefixes_.back(), power(token.length)), token.hash));
    }
    return submod(prefixes_[first + n], mulmod(prefixes_[first], power(ends_[first + n] - ends_[first])));
}

}  // namespace llmill
