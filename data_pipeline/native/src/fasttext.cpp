#include "fasttext.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>

namespace llmill {

// The part of the file that is still to be read.
struct Cursor {
    const char* at;
    const char* end;

    const char* bytes(int64_t count) {
        if (count < 0 || end - at < count) throw std::invalid_argument("the file ends early");
        const char* start = at;
        at += count;
        return start;
    }
    template <class T>
    T value() {
        T result;
        std::memcpy(&result, bytes(sizeof(T)), sizeof(T));
        return result;
    }
    std::string text() {
        const void* zero = std::memchr(at, 0, end - at);
        if (!zero) throw std::invalid_argument("the file ends early");
        std::string result(at, static_cast<const char*>(zero));
        at = static_cast<const char*>(zero) + 1;
        return result;
    }
};

namespace {

constexpr int32_t MAGIC = 793712314, HIERARCHICAL = 1, SOFTMAX = 3, SUPERVISED = 3, CENTROIDS = 256;
constexpr size_t SLOTS = 1 << 17, MAX_KNOWN = SLOTS / 2, MAX_ROWS = 1 << 21;
constexpr uint32_t FNV = 2166136261u;
constexpr std::string_view LABEL = "__label__", END = "</s>";

uint32_t step(uint32_t hash, char byte) {  // FNV-1a with fastText's sign extension
    return (hash ^ static_cast<uint32_t>(static_cast<int8_t>(byte))) * 16777619u;
}

uint32_t hash_of(std::string_view word) {
    uint32_t hash = FNV;
    for (char byte : word) hash = step(hash, byte);
    return hash;
}

bool continues(char byte) { return (byte & 0xC0) == 0x80; }

bool separates(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0'; }

float safe_log(double x) { return static_cast<float>(std::log(x + 1e-5)); }

bool better(const std::pair<float, int32_t>& a, const std::pair<float, int32_t>& b) { return a.first > b.first; }

void keep_best(std::vector<std::pair<float, int32_t>>& heap, size_t k, float score, int32_t label) {
    heap.emplace_back(score, label);
    std::push_heap(heap.begin(), heap.end(), better);
    if (heap.size() > k) {
        std::pop_heap(heap.begin(), heap.end(), better);
        heap.pop_back();
    }
}

}  // namespace

FastText::FastText(const std::string& path) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (file < 0) throw std::invalid_argument("the file cannot be opened");
    struct stat status {};
    if (fstat(file, &status) == 0 && status.st_size > 0) {
        size_ = static_cast<size_t>(status.st_size);
        void* map = mmap(nullptr, size_, PROT_READ, MAP_SHARED, file, 0);
        if (map != MAP_FAILED) data_ = static_cast<const char*>(map);
    }
    close(file);
    if (!data_) throw std::invalid_argument("the file is empty or cannot be mapped");
    try {
        read();
    } catch (...) {
        munmap(const_cast<char*>(data_), size_);
        throw;
    }
    forget();
}

FastText::~FastText() { munmap(const_cast<char*>(data_), size_); }

void FastText::read() {
    Cursor in{data_, data_ + size_};
    if (in.value<int32_t>() != MAGIC) throw std::invalid_argument("it does not start as a fastText model");
    const int32_t version = in.value<int32_t>();
    if (version != 11 && version != 12) throw std::invalid_argument("unknown version of the format");
    int32_t args[12];
    for (int32_t& arg : args) arg = in.value<int32_t>();
    in.value<double>();
    dim_ = args[0], word_n_grams_ = args[5], loss_ = args[6], buckets_ = args[8], min_n_ = args[9], max_n_ = args[10];
    if (version == 11) max_n_ = 0;
    if (args[7] != SUPERVISED) throw std::invalid_argument("it is no supervised model");
    if (loss_ != HIERARCHICAL && loss_ != SOFTMAX) throw std::invalid_argument("its loss is not handled");
    if (dim_ <= 0) throw std::invalid_argument("its dimension is not positive");
    read_dictionary(in);
    if (in.value<uint8_t>()) {
        read_quantised(in);
    } else {
        input_rows_ = in.value<int64_t>();
        if (in.value<int64_t>() != dim_) throw std::invalid_argument("its input matrix has another dimension");
        if (input_rows_ < 0 || input_rows_ > static_cast<int64_t>(size_)) throw std::invalid_argument("it is damaged");
        input_ = reinterpret_cast<const Unaligned*>(in.bytes(input_rows_ * dim_ * 4));
    }
    if (in.value<uint8_t>() && !dense_.empty()) throw std::invalid_argument("its output matrix is quantised");
    const int64_t rows = in.value<int64_t>();
    if (in.value<int64_t>() != dim_ || rows != static_cast<int64_t>(labels_.size()))
        throw std::invalid_argument("its output matrix has another shape");
    output_ = reinterpret_cast<const Unaligned*>(in.bytes(rows * dim_ * 4));
    const int64_t reach = words_ + (pruned_size_ < 0 ? (max_n_ > 0 || word_n_grams_ > 1 ? buckets_ : 0) : 0);
    if (input_rows_ < reach) throw std::invalid_argument("its input matrix is too small");
    for (const auto& [bucket, row] : pruned_)
        if (bucket >= 0 && (row < 0 || int64_t{words_} + row >= input_rows_))
            throw std::invalid_argument("it is damaged");
    if (loss_ == HIERARCHICAL) build_tree();
    hidden_.resize(dim_);
}

void FastText::read_dictionary(Cursor& in) {
    const int32_t size = in.value<int32_t>();
    words_ = in.value<int32_t>();
    const int32_t label_count = in.value<int32_t>();
    in.value<int64_t>();
    pruned_size_ = in.value<int64_t>();
    const bool hashes = max_n_ > 0 || word_n_grams_ > 1;
    if (words_ < 0 || label_count <= 0 || static_cast<size_t>(size) > size_ || size != int64_t{words_} + label_count ||
        (hashes && buckets_ <= 0))
        throw std::invalid_argument("it is damaged");
    ids_.reserve(words_);
    for (int32_t id = 0; id < size; ++id) {
        std::string text = in.text();
        const int64_t count = in.value<int64_t>();
        in.value<int8_t>();
        if (id < words_) {
            ids_.emplace(std::move(text), id);
        } else {
            if (count < 0 || count >= Node().count) throw std::invalid_argument("it is damaged");
            labels_.push_back(std::move(text));
            label_counts_.push_back(count);
        }
    }
    if (pruned_size_ > (in.end - in.at) / 8) throw std::invalid_argument("the file ends early");
    size_t slots = 2;
    while (static_cast<int64_t>(slots) < 2 * pruned_size_) slots *= 2;
    if (pruned_size_ > 0) pruned_.assign(slots, {-1, -1});
    for (int64_t i = 0; i < pruned_size_; ++i) {
        const int32_t bucket = in.value<int32_t>();
        pruned(bucket) = {bucket, in.value<int32_t>()};
    }
}

// The entry of `bucket`, or the empty one where it would be.
std::pair<int32_t, int32_t>& FastText::pruned(int32_t bucket) {
    size_t at = (static_cast<uint32_t>(bucket) * 0x9E3779B1u) & (pruned_.size() - 1);
    while (pruned_[at].first >= 0 && pruned_[at].first != bucket) at = (at + 1) & (pruned_.size() - 1);
    return pruned_[at];
}

void FastText::read_quantised(Cursor& in) {
    const bool with_norms = in.value<uint8_t>();
    input_rows_ = in.value<int64_t>();
    if (in.value<int64_t>() != dim_) throw std::invalid_argument("its input matrix has another dimension");
    const int32_t code_bytes = in.value<int32_t>();
    const auto* codes = reinterpret_cast<const uint8_t*>(in.bytes(code_bytes));
    const auto quantiser = [&](int32_t dimension, int32_t& parts, int32_t& width, int32_t& last) {
        if (in.value<int32_t>() != dimension) throw std::invalid_argument("it is damaged");
        parts = in.value<int32_t>(), width = in.value<int32_t>(), last = in.value<int32_t>();
        return reinterpret_cast<const Unaligned*>(in.bytes(int64_t{dimension} * CENTROIDS * 4));
    };
    int32_t parts, width, last;
    const Unaligned* centroids = quantiser(dim_, parts, width, last);
    if (parts <= 0 || width <= 0 || last <= 0 || int64_t{parts - 1} * width + last != dim_ ||
        input_rows_ != code_bytes / parts || code_bytes % parts)
        throw std::invalid_argument("it is damaged");
    const uint8_t* norm_codes = nullptr;
    const Unaligned* norms = nullptr;
    if (with_norms) {
        int32_t p, w, l;
        norm_codes = reinterpret_cast<const uint8_t*>(in.bytes(input_rows_));
        norms = quantiser(1, p, w, l);
    }
    dense_.resize(input_rows_ * dim_);
    for (int64_t row = 0; row < input_rows_; ++row) {
        const float norm = with_norms ? static_cast<float>(norms[norm_codes[row]]) : 1.0f;
        for (int32_t part = 0; part < parts; ++part) {
            const int32_t columns = part == parts - 1 ? last : width;
            const Unaligned* block = centroids + int64_t{part} * CENTROIDS * width;
            const Unaligned* centroid = block + codes[row * parts + part] * columns;
            for (int32_t c = 0; c < columns; ++c) dense_[row * dim_ + part * width + c] = norm * centroid[c];
        }
    }
    input_ = dense_.data();
}

// The Huffman tree of the labels by their counts, which come in descending order.
void FastText::build_tree() {
    const int32_t count = static_cast<int32_t>(labels_.size());
    tree_.assign(2 * count - 1, Node{});
    for (int32_t i = 0; i < count; ++i) tree_[i].count = label_counts_[i];
    int32_t leaf = count - 1, node = count;
    for (int32_t i = count; i < 2 * count - 1; ++i) {
        int32_t least[2];
        for (int32_t& one : least) one = leaf >= 0 && tree_[leaf].count < tree_[node].count ? leaf-- : node++;
        tree_[i].left = least[0], tree_[i].right = least[1];
        tree_[i].count = tree_[least[0]].count + tree_[least[1]].count;
    }
}

void FastText::forget() {
    known_.assign(SLOTS, Word{});
    known_count_ = 0;
    known_characters_.clear();
    known_rows_.clear();
}

const FastText::Word& FastText::rows_of(std::string_view word, uint32_t hash) {
    const auto is_it = [&](const Word& known) {
        return known.hash == hash && std::string_view(known_characters_.data() + known.begin, known.length) == word;
    };
    const auto slot = [&] {
        size_t at = (hash * 0x9E3779B1u) % SLOTS;
        while (known_[at].begin != SIZE_MAX && !is_it(known_[at])) at = (at + 1) % SLOTS;
        return at;
    };
    size_t at = slot();
    if (known_[at].begin != SIZE_MAX) return known_[at];
    if (known_count_ >= MAX_KNOWN || known_rows_.size() >= MAX_ROWS) {  // only speed depends on what is known
        forget();
        at = slot();
    }
    scratch_.clear();
    find_rows(word, scratch_);
    Word& entry = known_[at];
    entry = {hash, static_cast<uint32_t>(word.size()), static_cast<uint32_t>(scratch_.size()), known_characters_.size(),
             known_rows_.size()};
    known_characters_.append(word);
    known_rows_.insert(known_rows_.end(), scratch_.begin(), scratch_.end());
    ++known_count_;
    return entry;
}

// The word's own row, if it has one, and those of its character n-grams.
void FastText::find_rows(std::string_view word, std::vector<int32_t>& rows) {
    const auto id = ids_.find(std::string(word));
    if (id != ids_.end()) rows.push_back(id->second);
    if (word == END || max_n_ <= 0) return;
    const std::string marked = "<" + std::string(word) + ">";
    for (size_t i = 0; i < marked.size(); ++i) {
        if (continues(marked[i])) continue;
        uint32_t hash = FNV;
        size_t j = i;
        for (int32_t n = 1; j < marked.size() && n <= max_n_; ++n) {
            hash = step(hash, marked[j++]);
            while (j < marked.size() && continues(marked[j])) hash = step(hash, marked[j++]);
            if (n >= min_n_ && !(n == 1 && (i == 0 || j == marked.size())))
                push_bucket(static_cast<int32_t>(hash % static_cast<uint32_t>(buckets_)), rows);
        }
    }
}

void FastText::push_bucket(int32_t bucket, std::vector<int32_t>& rows) {
    if (pruned_size_ == 0 || bucket < 0) return;
    if (pruned_size_ > 0) {
        bucket = pruned(bucket).second;
        if (bucket < 0) return;
    }
    rows.push_back(words_ + bucket);
}

std::vector<std::pair<std::string, double>> FastText::predict(std::string_view text, size_t k) {
    line_.clear();
    hashes_.clear();
    const auto add = [&](std::string_view word) {
        const uint32_t hash = hash_of(word);
        const bool label = word.substr(0, LABEL.size()) == LABEL;
        if (label && ids_.find(std::string(word)) == ids_.end()) return;
        const Word& found = rows_of(word, hash);
        const auto first = known_rows_.begin() + static_cast<std::ptrdiff_t>(found.first_row);
        line_.insert(line_.end(), first, first + found.rows);
        hashes_.push_back(static_cast<int32_t>(hash));
    };
    bool ended = false;
    for (size_t i = 0; i < text.size() && !ended;) {
        while (i < text.size() && separates(text[i])) ++i;
        const size_t start = i;
        while (i < text.size() && !separates(text[i])) ++i;
        if (i > start) add(text.substr(start, i - start));
        ended = text.substr(start, i - start) == END;
    }
    if (!ended) add(END);
    for (size_t i = 0; word_n_grams_ > 1 && i < hashes_.size(); ++i) {
        uint64_t hash = static_cast<uint64_t>(static_cast<int64_t>(hashes_[i]));
        for (size_t j = i + 1; j < hashes_.size() && j < i + static_cast<size_t>(word_n_grams_); ++j) {
            hash = hash * 116049371u + static_cast<uint64_t>(static_cast<int64_t>(hashes_[j]));
            push_bucket(static_cast<int32_t>(hash % static_cast<uint64_t>(buckets_)), line_);
        }
    }
    std::vector<std::pair<std::string, double>> result;
    if (line_.empty() || k == 0) return result;
    average();
    Heap heap;
    k = std::min(k, labels_.size());
    if (loss_ == HIERARCHICAL)
        descend(k, static_cast<int32_t>(tree_.size()) - 1, 0.0f, heap);
    else
        softmax(k, heap);
    std::sort_heap(heap.begin(), heap.end(), better);
    for (const auto& [score, label] : heap) result.emplace_back(labels_[label], std::exp(score));
    return result;
}

void FastText::average() {
    std::fill(hidden_.begin(), hidden_.end(), 0.0f);
    float* hidden = hidden_.data();
    if (dim_ == 16) {  // lid.176: sums stay in registers
        float sums[16] = {};
        for (int32_t row : line_)
            for (int d = 0; d < 16; ++d) sums[d] += input_[int64_t{row} * 16 + d];
        std::copy(sums, sums + 16, hidden);
    } else {
        for (int32_t row : line_) {
            const Unaligned* values = input_ + int64_t{row} * dim_;
            for (int32_t d = 0; d < dim_; ++d) hidden[d] += values[d];
        }
    }
    const float share = static_cast<float>(1.0 / static_cast<double>(line_.size()));
    for (int32_t d = 0; d < dim_; ++d) hidden[d] *= share;
}

float FastText::dot(int64_t row) const {
    const Unaligned* values = output_ + row * dim_;
    float sum = 0.0f;
    for (int32_t d = 0; d < dim_; ++d) sum += values[d] * hidden_[d];
    return sum;
}

void FastText::softmax(size_t k, Heap& heap) const {
    std::vector<float> output(labels_.size());
    for (size_t i = 0; i < output.size(); ++i) output[i] = dot(static_cast<int64_t>(i));
    const float most = *std::max_element(output.begin(), output.end());
    float total = 0.0f;
    for (float& value : output) total += value = static_cast<float>(std::exp(static_cast<double>(value - most)));
    for (size_t i = 0; i < output.size(); ++i) keep_best(heap, k, safe_log(output[i] / total), static_cast<int32_t>(i));
}

// Walks the label tree, passing over branches that cannot reach the best `k`.
void FastText::descend(size_t k, int32_t node, float score, Heap& heap) const {
    if (score < safe_log(0.0) || (heap.size() == k && score < heap.front().first)) return;
    if (tree_[node].left < 0) {
        keep_best(heap, k, score, node);
        return;
    }
    const float inner = dot(node - static_cast<int64_t>(labels_.size()));
    const float right = static_cast<float>(1.0 / (1 + std::exp(-inner)));
    descend(k, tree_[node].left, score + safe_log(1.0 - right), heap);
    descend(k, tree_[node].right, score + safe_log(right), heap);
}

}  // namespace llmill
