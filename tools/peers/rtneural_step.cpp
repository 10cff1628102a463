// An LSTM of 16 units and a Dense as a user of RTNeural writes them (its compile-time layers, STL backend), for tools/peers/microcontrollers.py, which
// writes weights.h: kernel, recurrent, bias, dense_kernel, dense_bias in Keras's order.
#include <new>
#include <vector>

#include "RTNeural/dense/dense.h"
#include "RTNeural/lstm/lstm.h"

#include "weights.h"

namespace {

struct Net {
    RTNeural::LSTMLayerT<float, 1, UNITS> lstm;
    RTNeural::DenseT<float, UNITS, 1> dense;
};

Net &net() {
    alignas(Net) static unsigned char memory[sizeof(Net)];
    static Net &made = *new (memory) Net; // never destroyed
    return made;
}

std::vector<std::vector<float>> rows_of(const float *values, int rows, int columns) {
    std::vector<std::vector<float>> made;
    for (int r = 0; r < rows; r++)
        made.emplace_back(values + r * columns, values + (r + 1) * columns);
    return made;
}

} // namespace

extern "C" {

unsigned peer_bytes() { return sizeof(Net); }

void peer_prepare() {
    net().lstm.setWVals(rows_of(kernel, 1, 4 * UNITS));
    net().lstm.setUVals(rows_of(recurrent, UNITS, 4 * UNITS));
    net().lstm.setBVals(std::vector<float>(bias, bias + 4 * UNITS));
    net().dense.setWeights(rows_of(dense_kernel, 1, UNITS));
    float first[] = {dense_bias[0]};
    net().dense.setBias(first);
    net().lstm.reset();
}

float peer_step(float x) {
    const float in[] = {x};
    net().lstm.forward(in);
    net().dense.forward(net().lstm.outs);
    return net().dense.outs[0];
}
}
