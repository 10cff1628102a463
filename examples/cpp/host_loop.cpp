/* host_loop MODEL.lstm IN.wav OUT.wav: what an audio host does to a plug-in: blocks of 64 to 1024 samples, of random size, one after the other.
 * IN.wav: mono, 16-bit integers or 32-bit floats. OUT.wav: 32-bit floats. */
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <stdexcept>
#include <string>

#include "audio_block.hpp"

struct Sound {
    std::uint32_t rate = 0;
    std::vector<float> samples;
};

static std::uint32_t number(const std::string &bytes, std::size_t at, int size) {
    std::uint32_t value = 0;
    for (int i = 0; i < size; i++)
        value |= static_cast<std::uint32_t>(static_cast<unsigned char>(bytes.at(at + i))) << 8 * i;
    return value;
}

static Sound read_wav(const char *path) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    if (bytes.size() < 12 || bytes.compare(0, 4, "RIFF") != 0 || bytes.compare(8, 4, "WAVE") != 0)
        throw std::runtime_error(std::string(path) + ": expected a .wav");
    Sound sound;
    std::uint32_t format = 0, channels = 0, bits = 0;
    for (std::size_t at = 12; at + 8 <= bytes.size();) {
        const std::uint32_t size = number(bytes, at + 4, 4);
        if (bytes.compare(at, 4, "fmt ") == 0) {
            format = number(bytes, at + 8, 2);
            channels = number(bytes, at + 10, 2);
            sound.rate = number(bytes, at + 12, 4);
            bits = number(bytes, at + 22, 2);
        } else if (bytes.compare(at, 4, "data") == 0) {
            if (channels != 1 || !((format == 1 && bits == 16) || (format == 3 && bits == 32)))
                throw std::runtime_error(std::string(path) + ": expected mono, 16-bit integers or 32-bit floats");
            for (std::size_t i = at + 8; i + bits / 8 <= at + 8 + size; i += bits / 8) {
                const std::uint32_t raw = number(bytes, i, static_cast<int>(bits / 8));
                float value;
                std::memcpy(&value, &raw, sizeof value);
                sound.samples.push_back(bits == 16 ? static_cast<float>(static_cast<std::int16_t>(raw)) / 32768.0f : value);
            }
        }
        at += 8 + size + (size & 1);
    }
    return sound;
}

static void put(std::string &bytes, std::uint32_t value, int size) {
    for (int i = 0; i < size; i++)
        bytes.push_back(static_cast<char>(value >> 8 * i & 255));
}

static void write_wav(const char *path, const Sound &sound) {
    const std::uint32_t size = static_cast<std::uint32_t>(sound.samples.size() * 4);
    std::string bytes = "RIFF";
    put(bytes, 36 + size, 4);
    bytes += "WAVEfmt ";
    for (auto [value, width] : {std::pair{16u, 4}, {3u, 2}, {1u, 2}, {sound.rate, 4}, {4 * sound.rate, 4}, {4u, 2}, {32u, 2}})
        put(bytes, value, width);
    bytes += "data";
    put(bytes, size, 4);
    for (const float sample : sound.samples) {
        std::uint32_t raw;
        std::memcpy(&raw, &sample, sizeof raw);
        put(bytes, raw, 4);
    }
    std::ofstream file(path, std::ios::binary);
    if (!file.write(bytes.data(), static_cast<std::streamsize>(bytes.size())))
        throw std::runtime_error(std::string(path) + ": cannot be written");
}

int main(int argc, char **argv) try {
    if (argc != 4) {
        std::fprintf(stderr, "usage: host_loop MODEL.lstm IN.wav OUT.wav\n");
        return 2;
    }
    Sound sound = read_wav(argv[2]);
    AudioBlock plugin(argv[1]);
    std::mt19937 random(1);
    for (std::size_t at = 0; at < sound.samples.size();) {
        const std::size_t block = std::min<std::size_t>(64 + random() % 961, sound.samples.size() - at);
        if (!plugin.process(sound.samples.data() + at, block))
            throw std::runtime_error(plugin.error());
        at += block;
    }
    write_wav(argv[3], sound);
    std::printf("%zu samples\n", sound.samples.size());
    return 0;
} catch (const std::exception &why) {
    std::fprintf(stderr, "host_loop: %s\n", why.what());
    return 1;
}
