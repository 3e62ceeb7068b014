// Which blocks of a page are its main text: two forests of regression trees and the choice of a threshold for the page.
#pragma once

#include "html_features.hpp"

namespace llmill::html {

struct Forest {
    struct Split {
        float threshold;   // of a leaf: its value
        int32_t feature;   // -1: a leaf
        int32_t left, right;
    };
    std::vector<Split> splits;
    std::vector<int32_t> roots;
    double baseline = 0;

    std::vector<double> scores(const Matrix& x) const;
};

struct Decision {
    std::vector<float> probabilities;  // at scores -8, -7.75, ... 8
    double low = 0.2, high = 0.6;      // thresholds are chosen between these

    double probability(double score) const;
    // The blocks that maximise the expected F1 of words.
    std::vector<bool> choose(const Analysis& analysis, const std::vector<double>& scores) const;
};

std::vector<Py_UCS4> render(const Page& page, const std::vector<bool>& keep);

}  // namespace llmill::html
