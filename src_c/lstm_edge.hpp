/* lstm_edge in C++17: models and streams that close themselves, spans, exceptions where the compiler has them (docs/c-library.md).
 *
 *   lstm_edge::Model model("amp.lstm");                  // outside the audio thread: these allocate, and throw lstm_edge::Error
 *   lstm_edge::Stream stream(model, 512);                // for up to 512 frames a call
 *   le_status status = stream.process(input, output);    // in the audio thread: no allocation, lock, system call or exception
 *
 * What may fail has two forms: one that throws, and one that takes a le_error, throws nothing and leaves an empty object behind, which is the
 * only one under -fno-exceptions or with LSTM_EDGE_NO_EXCEPTIONS defined. Threads: a Model may be shared by any number of them, a Stream
 * belongs to one at a time. A Stream holds on to its model: the last of them closes it, so let a Stream go outside the audio thread, too.
 */
#ifndef LSTM_EDGE_HPP
#define LSTM_EDGE_HPP

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <string>
#include <type_traits>
#include <utility>

#include "lstm_edge.h"

#if !defined(LSTM_EDGE_NO_EXCEPTIONS) && !defined(__cpp_exceptions)
#define LSTM_EDGE_NO_EXCEPTIONS
#endif
#ifndef LSTM_EDGE_NO_EXCEPTIONS
#include <stdexcept>
#endif
#if defined(__has_include) && __cplusplus >= 202002L
#if __has_include(<span>)
#define LSTM_EDGE_STD_SPAN
#include <span>
#endif
#endif

namespace lstm_edge {

#ifdef LSTM_EDGE_STD_SPAN
template <class T> using span = std::span<T>;
#else
/* Values in a row that belong to somebody else: what std::span is from C++20 on, where it is used instead. */
template <class T> class span {
  public:
    constexpr span() noexcept = default;
    constexpr span(T *data, std::size_t size) noexcept : data_(data), size_(size) {}
    template <std::size_t N> constexpr span(T (&array)[N]) noexcept : data_(array), size_(N) {}
    /* Of anything with data() and size(): std::vector, std::array, another span. */
    template <class C, class = std::enable_if_t<std::is_convertible_v<decltype(std::declval<C &>().data()), T *>>>
    constexpr span(C &&container) noexcept : data_(container.data()), size_(container.size()) {}
    constexpr T *data() const noexcept { return data_; }
    constexpr std::size_t size() const noexcept { return size_; }
    constexpr bool empty() const noexcept { return size_ == 0; }
    constexpr T &operator[](std::size_t index) const noexcept { return data_[index]; }
    constexpr T *begin() const noexcept { return data_; }
    constexpr T *end() const noexcept { return data_ + size_; }
    constexpr span subspan(std::size_t from, std::size_t count) const noexcept { return {data_ + from, count}; }

  private:
    T *data_ = nullptr;
    std::size_t size_ = 0;
};
#endif

#ifndef LSTM_EDGE_NO_EXCEPTIONS
class Error : public std::runtime_error {
  public:
    explicit Error(const le_error &error) : std::runtime_error(error.message), status_(error.status) {}
    le_status status() const noexcept { return status_; }

  private:
    le_status status_;
};
#endif

/* A network, never written after it was opened. Copies are the same model. */
class Model {
  public:
    Model() noexcept = default; /* empty */

    /* From a file, or from its bytes, which are not needed afterwards. Empty on failure, and `error` says why. */
    static Model load(const char *path, le_error &error, const le_options *options = nullptr) noexcept {
        return Model(le_model_load(path, options, &error), error);
    }
    static Model open(span<const unsigned char> file, le_error &error, const le_options *options = nullptr) noexcept {
        return Model(le_model_open(file.data(), file.size(), options, &error), error);
    }
#ifndef LSTM_EDGE_NO_EXCEPTIONS
    explicit Model(const std::string &path, const le_options *options = nullptr) {
        le_error error{};
        *this = load(path.c_str(), error, options);
        if (!model_)
            throw Error(error);
    }
    explicit Model(span<const unsigned char> file, const le_options *options = nullptr) {
        le_error error{};
        *this = open(file, error, options);
        if (!model_)
            throw Error(error);
    }
#endif

    explicit operator bool() const noexcept { return model_ != nullptr; }
    const le_model *get() const noexcept { return model_.get(); }

    int count(le_role role) const noexcept { return le_model_count(get(), role); }
    le_port port(le_role role, int index) const noexcept { return le_model_port(get(), role, index); }
    const char *isa() const noexcept { return le_model_isa(get()); }

  private:
    Model(le_model *model, le_error &error) noexcept {
#ifdef LSTM_EDGE_NO_EXCEPTIONS
        (void)error;
        model_.reset(model, le_model_close);
#else
        try {
            model_.reset(model, le_model_close);
        } catch (const std::bad_alloc &) { /* the model is closed by then */
            error = {LE_ERR_MEMORY, "cannot allocate a model"};
        }
#endif
    }

    std::shared_ptr<const le_model> model_;
};

/* The state of one sequence, or of `batch` of them side by side. */
class Stream {
  public:
    Stream() noexcept = default; /* empty */

    /* For up to `frames` frames a call. Empty on failure, and `error` says why. */
    static Stream open(const Model &model, std::int64_t frames, le_error &error, std::int64_t batch = 1) noexcept {
        return Stream(model, frames, batch, error);
    }
#ifndef LSTM_EDGE_NO_EXCEPTIONS
    explicit Stream(const Model &model, std::int64_t frames = 1, std::int64_t batch = 1) {
        le_error error{};
        *this = open(model, frames, error, batch);
        if (!stream_)
            throw Error(error);
    }
    Stream(const Stream &other) : Stream(other.model_, other.frames_, other.batch_) { (void)copy_states(other); }
    Stream &operator=(const Stream &other) {
        if (this != &other)
            *this = Stream(other);
        return *this;
    }
#else
    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;
#endif
    Stream(Stream &&) noexcept = default;
    Stream &operator=(Stream &&) noexcept = default;

    explicit operator bool() const noexcept { return stream_ != nullptr; }
    le_stream *get() const noexcept { return stream_.get(); }
    const Model &model() const noexcept { return model_; }
    std::int64_t frames() const noexcept { return frames_; } /* the most of a call */
    std::int64_t batch() const noexcept { return batch_; }

    /* A stream of its own with the same states; not what adaptation has learnt. */
    Stream clone(le_error &error) const noexcept {
        Stream copy = open(model_, frames_, error, batch_);
        if (copy && copy.copy_states(*this) != LE_OK) {
            error = copy.error_;
            return Stream();
        }
        return copy;
    }

    /* ---- for the audio thread: nothing from here on allocates, locks, asks the system or throws ---- */

    void reset() noexcept { le_stream_reset(get()); }

    /* Takes the states of another stream of the same model and batch. */
    le_status copy_states(const Stream &other) noexcept {
        le_status status = LE_OK;
        std::int64_t dims[LE_MAX_RANK];
        for (int i = 0; i < model_.count(LE_STATE) && status == LE_OK; i++) {
            const void *values = le_stream_state(other.get(), i, dims);
            status = le_stream_set_state(get(), i, dims, values, &error_);
        }
        return status;
    }

    /* One call of a network with one input and one output in float32: as many frames as `input` has, at most those of the constructor; the answers go to the
     * front of `output`, and `written`, if asked, tells how many values they are (0 while a window fills up). Dense arrays, one sequence after the other. */
    le_status process(span<const float> input, span<float> output, std::size_t *written = nullptr) noexcept {
        if (values_ == 0)
            return fail(LE_ERR_VALUE, "process: expected a model of one float32 input and one float32 output; use run");
        if (input.size() == 0 || input.size() % values_ != 0 || (whole_ && input.size() != values_))
            return fail(LE_ERR_SHAPE, "process: input: expected whole frames");
        const std::int64_t frames = whole_ ? 1 : static_cast<std::int64_t>(input.size() / values_);
        if (frames > frames_)
            return fail(LE_ERR_VALUE, "process: input: expected at most the frames that the stream was made for");
        if (le_stream_prepare(get(), frames, &error_) != LE_OK)
            return error_.status;
        const std::size_t size = output_size();
        if (output.size() < size)
            return fail(LE_ERR_SHAPE, "process: output: expected room for every value of the answer");
        const void *in = input.data();
        void *out = output.data();
        const le_status status = le_stream_run(get(), frames, &in, &out, &error_);
        if (written)
            *written = status == LE_OK ? size : 0;
        return status;
    }

    /* One call of any network: a pointer for each input and output (le_stream_run). Frames beyond those of the constructor are an error. */
    le_status run(std::int64_t frames, const void *const *inputs, void *const *outputs) noexcept {
        if (frames > frames_)
            return fail(LE_ERR_VALUE, "run: frames: expected at most those that the stream was made for");
        return le_stream_run(get(), frames, inputs, outputs, &error_);
    }

    const le_error &error() const noexcept { return error_; } /* what the last call that failed said */

  private:
    Stream(const Model &model, std::int64_t frames, std::int64_t batch, le_error &error) noexcept
        : model_(model), stream_(le_stream_open(model.get(), batch, frames, &error)), frames_(frames), batch_(batch) {
        if (!stream_ || model_.count(LE_INPUT) != 1 || model_.count(LE_OUTPUT) != 1)
            return;
        const le_port in = model_.port(LE_INPUT, 0), out = model_.port(LE_OUTPUT, 0);
        if (in.dtype != LE_F32 || out.dtype != LE_F32 || le_model_lengths(model_.get()) != 0)
            return;
        std::int64_t values = 1;
        whole_ = true;
        for (int d = 0; d < in.rank; d++) {
            values *= in.dims[d].symbol == LE_BATCH ? in.dims[d].coef * batch_ : in.dims[d].coef;
            whole_ = whole_ && in.dims[d].symbol != LE_FRAMES;
        }
        values_ = static_cast<std::size_t>(values);
    }

    std::size_t output_size() const noexcept {
        std::int64_t dims[LE_MAX_RANK];
        const int rank = le_stream_output_shape(get(), 0, dims);
        std::int64_t values = rank < 0 ? 0 : 1;
        for (int d = 0; d < rank; d++)
            values *= dims[d];
        return static_cast<std::size_t>(values);
    }

    le_status fail(le_status status, const char *message) noexcept {
        error_.status = status;
        std::size_t i = 0;
        for (; message[i] && i + 1 < LE_MESSAGE_SIZE; i++)
            error_.message[i] = message[i];
        error_.message[i] = 0;
        return status;
    }

    struct Close {
        void operator()(le_stream *stream) const noexcept { le_stream_close(stream); }
    };

    Model model_; /* before the stream, which goes first */
    std::unique_ptr<le_stream, Close> stream_;
    std::int64_t frames_ = 0, batch_ = 0;
    std::size_t values_ = 0; /* of one frame of the input, all sequences; 0: process does not take this network */
    bool whole_ = false;     /* no axis of frames: one call is one frame */
    le_error error_{};
};

} // namespace lstm_edge

#endif
