// The Python side of the extractor.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include "html_model.hpp"
#include "html_net.hpp"

namespace llmill::html {

// arrays of a forest: feature, threshold, left, right, roots; and its baseline
using ForestArrays = std::tuple<pybind11::array_t<int32_t>, pybind11::array_t<float>, pybind11::array_t<int32_t>,
                                pybind11::array_t<int32_t>, pybind11::array_t<int32_t>, double>;

class HtmlModel {
   public:
    HtmlModel(pybind11::array_t<uint32_t> keys, pybind11::array_t<float> weights, const ForestArrays& first,
              const ForestArrays& second, const pybind11::dict& net, double net_share,
              pybind11::array_t<float> probabilities, double low, size_t max_tags, size_t max_blocks);
    pybind11::dict extract(pybind11::str html) const;
    pybind11::dict facts(pybind11::str html) const;  // what the page states about itself, without its text
    pybind11::dict blocks(pybind11::str html) const;

   private:
    std::vector<double> scores(const Matrix& far) const;  // of the second forest and the network

    Weights weights_;
    Forest first_, second_;
    Net net_;
    double net_share_;
    Decision decision_;
    Limits limits_;
};

void bind(pybind11::module_& module);

}  // namespace llmill::html
