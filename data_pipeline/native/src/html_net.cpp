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
constexpr double FAR = 30, NEVER = 1e-6;
constexpr size_t TERMS = 14;  // of power series

// The sign of x and a logarithm to base 2 of 1 + |x|, straight between powers of two: exact arithmetic, no libm.
inline float squash(float x) {
    const float above = 1 + std::fabs(x);
    int32_t bits;
    std::memcpy(&bits, &above, sizeof bits);
    const float size = static_cast<float>(bits - 0x3F800000) * (1.0f / (1 << 23));
    return x < 0 ? -size : size;
}

struct Series {
    double exponential[TERMS], logarithm[TERMS];  // 1 / k!, 1 / (2 k + 1)
    Series() {
        double factorial = 1;
        for (size_t k = 0; k < TERMS; ++k) {
            if (k) factorial *= static_cast<double>(k);
            exponential[k] = 1 / factorial;
            logarithm[k] = 1 / static_cast<double>(2 * k + 1);
        }
    }
};
const Series series;

// e to the x and the natural logarithm in additions and products alone: libm's differ between machines in the last bit.
double exponential(double x) {
    constexpr double LN2_HIGH = 0x1.62e42fee00000p-1, LN2_LOW = 0x1.a39ef35793c76p-33;
    const double twos = std::floor(x * 0x1.71547652b82fep+0 + 0.5);
    const double rest = (x - twos * LN2_HIGH) - twos * LN2_LOW;  // at most half of ln 2 from 0
    double sum = 0;
    for (size_t k = TERMS; k-- > 0;) sum = sum * rest + series.exponential[k];
    return std::ldexp(sum, static_cast<int>(twos));
}

double logarithm(double x) {
    int twos;
    double part = std::frexp(x, &twos);
    if (part < 0.7071067811865476) {
        part *= 2;
        --twos;
    }
    const double t = (part - 1) / (part + 1), square = t * t;
    double sum = 0;
    for (size_t k = TERMS; k-- > 0;) sum = sum * square + series.logarithm[k];
    return 2 * t * sum + twos * 0.6931471805599453;
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

// bias + x times `weights` [n][readings], in double precision.
std::vector<double> linear(const float* x, size_t n, const std::vector<float>& weights, const std::vector<float>& bias) {
    std::vector<double> out(bias.begin(), bias.end());
    for (size_t k = 0; k < n; ++k)
        for (size_t r = 0; r < out.size(); ++r) out[r] += static_cast<double>(x[k] * weights[k * out.size() + r]);
    return out;
}

}  // namespace

// How likely each reading of the page is.
std::vector<double> Net::shares(const std::vector<float>& page) const {
    std::vector<double> out = linear(page.data(), 2 * W, gate, gate_bias);
    const double most = *std::max_element(out.begin(), out.end());
    double sum = 0;
    for (double& share : out) sum += share = exponential(share - most);
    for (double& share : out) share /= sum;
    return out;
}

std::vector<double> Net::scores(const Matrix& x) const {
    if (!x.rows) return {};
    std::vector<float> h(x.rows * W), row(x.columns);
    for (size_t i = 0; i < x.rows; ++i) {
        for (size_t k = 0; k < x.columns; ++k)
            row[k] = std::min(std::max((squash(x.row(i)[k]) - mean[k]) * scale[k], -LIMIT), LIMIT);
        std::copy(input_bias.begin(), input_bias.end(), &h[i * W]);
        multiply(row.data(), x.columns, input.data(), &h[i * W]);
        for (size_t c = 0; c < W; ++c) h[i * W + c] = std::max(h[i * W + c], 0.0f);
    }
    for (const Layer& layer : layers) apply(layer, h, x.rows);
    const std::vector<double> share = shares(summary(h, x.rows));
    std::vector<double> out;
    for (size_t i = 0; i < x.rows; ++i) {
        const std::vector<double> reading = linear(&h[i * W], W, output, output_bias);
        double chance = 0;
        for (size_t r = 0; r < reading.size(); ++r)
            chance += share[r] / (1 + exponential(-std::min(std::max(reading[r], -FAR), FAR)));
        out.push_back(logarithm((chance + NEVER) / (1 - chance + NEVER)));
    }
    return out;
}

}  // namespace llmill::html
