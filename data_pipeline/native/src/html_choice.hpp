// From scores of blocks to the blocks that make the text.
#pragma once

#include "html_features.hpp"

namespace llmill::html {

struct Decision {
    std::vector<float> probabilities;  // at scores -8, -7.75, ... 8
    double low = 0.1;                  // blocks less probable are not looked at

    double probability(double score) const;
    // The blocks that maximise the expected F1 of words, tables whole, without those that repeat better ones.
    std::vector<bool> choose(const Page& page, const Analysis& analysis, std::vector<double> scores) const;
};

}  // namespace llmill::html
