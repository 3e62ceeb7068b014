#include "html_net.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

// Sums run in one order whatever the width of a vector, and setup.py forbids fused multiply-adds: the same page gives the
// same bytes on every machine, so the wider instructions may be used where they exist.
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#define WIDER __attribute__((target_clones("avx2", "default")))
#else
#define WIDER
#endif

namespace llmill::html {

namespace {

constexpr size_t W = Net::WIDTH;
constexpr float LIMIT = 4, SMALL = 1e-5f;

// The sign of x and a logarithm to base 2 of 1 + |x|, straight between powers of two: exact arithmetic, no libm.
inline float squash(float x) {
    const float above = 1 + std::fabs(x);
    int32_t bits;
    std::memcpy(&bits, &above, sizeof bits);
    const float size = static_cast<float>(bits - 0x3F800000) * (1.0f / (1 << 23));
    return x < 0 ? -size : size;
}

// out += the row vector `x` of `n` numbers times the matrix `weights` [n][W].
WIDER void multiply(const float* x, size_t n, const float* weights, float* out) {
    float sum[W];
    for (size_t c = 0; c < W; ++c) sum[c] = out[c];
    for (size_t k = 0; k < n; ++k)
        for (size_t c = 0; c < W; ++c) sum[c] += x[k] * weights[k * W + c];
    for (size_t c = 0; c < W; ++c) out[c] = sum[c];
}

// Means and maxima of each column, one after the other.
std::vector<float> summary(const std::vector<float>& h, size_t rows) {
    std::vector<float> out(2 * W, 0.0f);
    std::copy(h.begin(), h.begin() + W, out.begin() + W);
    for (size_t i = 0; i < rows; ++i)
        for (size_t c = 0; c < W; ++c) {
            out[c] += h[i * W + c];
            out[W + c] = std::max(out[W + c], h[i * W + c]);
        }
    for (size_t c = 0; c < W; ++c) out[c] /= static_cast<float>(rows);
    return out;
}

// LayerNorm, then what is above zero is added to `h`.
void add_normalised(const float* z, const Net::Layer& layer, float* h) {
    float mean = 0, variance = 0;
    for (size_t c = 0; c < W; ++c) mean += z[c];
    mean /= W;
    for (size_t c = 0; c < W; ++c) variance += (z[c] - mean) * (z[c] - mean);
    const float unit = 1 / std::sqrt(variance / W + SMALL);
    for (size_t c = 0; c < W; ++c) {
        const float value = (z[c] - mean) * unit * layer.gain[c] + layer.shift[c];
        if (value > 0) h[c] += value;
    }
}

void apply(const Net::Layer& layer, std::vector<float>& h, size_t rows) {
    const std::vector<float> page = summary(h, rows);
    std::vector<float> base = layer.bias;  // the same for every block of the page
    multiply(page.data(), 2 * W, layer.page.data(), base.data());
    std::vector<float> out = h;
    for (size_t i = 0; i < rows; ++i) {
        float z[W];
        std::copy(base.begin(), base.end(), z);
        if (i >= layer.gap) multiply(&h[(i - layer.gap) * W], W, layer.conv.data(), z);
        multiply(&h[i * W], W, &layer.conv[W * W], z);
        if (i + layer.gap < rows) multiply(&h[(i + layer.gap) * W], W, &layer.conv[2 * W * W], z);
        add_normalised(z, layer, &out[i * W]);
    }
    h = std::move(out);
}

}  // namespace

std::vector<double> Net::scores(const Matrix& x) const {
    std::vector<float> h(x.rows * W), row(x.columns);
    for (size_t i = 0; i < x.rows; ++i) {
        for (size_t k = 0; k < x.columns; ++k)
            row[k] = std::min(std::max((squash(x.row(i)[k]) - mean[k]) * scale[k], -LIMIT), LIMIT);
        std::copy(input_bias.begin(), input_bias.end(), &h[i * W]);
        multiply(row.data(), x.columns, input.data(), &h[i * W]);
        for (size_t c = 0; c < W; ++c) h[i * W + c] = std::max(h[i * W + c], 0.0f);
    }
    if (x.rows)
        for (const Layer& layer : layers) apply(layer, h, x.rows);
    std::vector<double> out(x.rows, output_bias);
    for (size_t i = 0; i < x.rows; ++i)
        for (size_t c = 0; c < W; ++c) out[i] += static_cast<double>(h[i * W + c] * output[c]);
    return out;
}

}  // namespace llmill::html
