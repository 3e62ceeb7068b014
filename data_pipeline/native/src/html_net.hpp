// A small convolutional network over the blocks of a page, in reading order.
#pragma once

#include "html_features.hpp"

namespace llmill::html {

// Residual layers over 3 blocks with growing gaps, each also told the mean and the maximum over the page. Then several
// readings of the page, each with a score for every block, and a gate that says how likely each reading is.
struct Net {
    struct Layer {
        size_t gap = 1;
        std::vector<float> conv;         // [3][WIDTH][WIDTH]: from the block before, itself, the block after
        std::vector<float> page;         // [2 * WIDTH][WIDTH]: from the means, the maxima
        std::vector<float> bias;         // [WIDTH]
        std::vector<float> gain, shift;  // [WIDTH], of the normalisation
    };
    static constexpr size_t WIDTH = 32;
    std::vector<float> mean, scale;  // [inputs], of squashed features
    std::vector<float> input;        // [inputs][WIDTH]
    std::vector<float> input_bias;   // [WIDTH]
    std::vector<Layer> layers;
    std::vector<float> output, output_bias;  // [WIDTH][readings], [readings]
    std::vector<float> gate, gate_bias;      // [2 * WIDTH][readings], from the means, the maxima; [readings]

    // The log-odds of each row over all readings of the page; the work grows with the number of rows alone.
    std::vector<double> scores(const Matrix& x) const;

   private:
    std::vector<double> shares(const std::vector<float>& page) const;
};

}  // namespace llmill::html
