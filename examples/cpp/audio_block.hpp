/* A network as a plug-in's processor: the host prepares it, then calls it with blocks of any size from its audio thread. Mono. */
#pragma once

#include <algorithm>
#include <cstddef>
#include <lstm_edge.hpp>
#include <vector>

class AudioBlock {
  public:
    /* Outside the audio thread. Throws lstm_edge::Error. */
    explicit AudioBlock(const char *path, std::size_t largest = 256)
        : largest_(largest), stream_(lstm_edge::Model(path), static_cast<std::int64_t>(largest)), answer_(largest) {}

    /* In the audio thread, in place: a sample in, a sample out. Blocks larger than what was prepared go through in parts, which gives the same
     * bits. Where the network fails the sound stays as it was. */
    bool process(float *samples, std::size_t count) noexcept {
        for (std::size_t at = 0; at < count; at += largest_) {
            const std::size_t part = std::min(largest_, count - at);
            std::size_t written = 0;
            if (stream_.process({samples + at, part}, answer_, &written) != LE_OK || written != part)
                return false;
            std::copy_n(answer_.data(), part, samples + at);
        }
        return true;
    }

    void reset() noexcept { stream_.reset(); } /* when the host stops or jumps */
    const char *error() const noexcept { return stream_.error().message; }

  private:
    std::size_t largest_;
    lstm_edge::Stream stream_;
    std::vector<float> answer_;
};
