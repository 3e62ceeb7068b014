// Predictions of fastText's supervised models (Joulin et al. 2016, "Bag of Tricks for Efficient Text Classification"),
// read from its own model files (.bin and .ftz). The same arithmetic in the same order as fastText's, an order of
// magnitude faster: the rows of a word (the word's own and those of its character n-grams) are remembered.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace llmill {

class FastText {
  public:
    // Throws std::invalid_argument when the file is no supervised model of a kind that is handled here.
    explicit FastText(const std::string& path);
    ~FastText();
    FastText(const FastText&) = delete;
    FastText& operator=(const FastText&) = delete;

    // The `k` most likely labels with their probabilities, best first; white space of any kind separates words.
    std::vector<std::pair<std::string, double>> predict(std::string_view text, size_t k);
    const std::vector<std::string>& labels() const { return labels_; }

  private:
    // Floats of the mapped file lie at any address.
    typedef float Unaligned __attribute__((aligned(1)));
    struct Node {
        int32_t left = -1, right = -1;
        int64_t count = 1000000000000000;
    };
    struct Word {
        uint32_t hash = 0, length = 0, rows = 0;
        size_t begin = SIZE_MAX, first_row = 0;  // in known_characters_ and known_rows_
    };
    using Heap = std::vector<std::pair<float, int32_t>>;

    void read();
    void read_dictionary(struct Cursor& in);
    void read_quantised(struct Cursor& in);
    void build_tree();
    void forget();
    const Word& rows_of(std::string_view word, uint32_t hash);
    void find_rows(std::string_view word, std::vector<int32_t>& rows);
    std::pair<int32_t, int32_t>& pruned(int32_t bucket);
    void push_bucket(int32_t bucket, std::vector<int32_t>& rows);
    void average();
    float dot(int64_t row) const;
    void softmax(size_t k, Heap& heap) const;
    void descend(size_t k, int32_t node, float score, Heap& heap) const;

    const char* data_ = nullptr;
    size_t size_ = 0;
    int32_t dim_ = 0, word_n_grams_ = 0, loss_ = 0, buckets_ = 0, min_n_ = 0, max_n_ = 0, words_ = 0;
    int64_t pruned_size_ = -1;
    std::unordered_map<std::string, int32_t> ids_;
    std::vector<std::pair<int32_t, int32_t>> pruned_;  // bucket and row, by open addressing; a power of two, or none
    std::vector<std::string> labels_;
    std::vector<int64_t> label_counts_;
    std::vector<Node> tree_;
    std::vector<float> dense_;           // input rows of a quantised model, unpacked
    const Unaligned* input_ = nullptr;   // [rows, dim]
    const Unaligned* output_ = nullptr;  // [labels, dim]
    int64_t input_rows_ = 0;

    std::vector<Word> known_;  // open addressing; a power of two
    size_t known_count_ = 0;
    std::string known_characters_;
    std::vector<int32_t> known_rows_;
    std::vector<int32_t> line_, hashes_, scratch_;
    std::vector<float> hidden_;
};

}  // namespace llmill
