/* realtime MODEL.lstm FRAMES: what lstm_edge.hpp promises an audio thread. Blocks of every size up to FRAMES go through a stream and its copy while every
 * allocation is counted and, where the kernel has seccomp, every system call but the exit ends the process. Its exit code: 0, 1 for an
 * allocation, 2 for an error, 3 for other bits, 4 for a wrong use that was not refused, 5 without seccomp. Linux with glibc. */
#include <cerrno>
#include <cstdlib>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <lstm_edge.hpp>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <vector>

extern "C" {
void *__libc_malloc(std::size_t size);
void *__libc_calloc(std::size_t count, std::size_t size);
void *__libc_realloc(void *data, std::size_t size);
void *__libc_memalign(std::size_t to, std::size_t size);
void __libc_free(void *data);

/* The program's own stand before the C library's: everything in the process comes here. */
static long calls;
void *malloc(std::size_t size) noexcept { return calls++, __libc_malloc(size); }
void *calloc(std::size_t count, std::size_t size) noexcept { return calls++, __libc_calloc(count, size); }
void *realloc(void *data, std::size_t size) noexcept { return calls++, __libc_realloc(data, size); }
void *aligned_alloc(std::size_t to, std::size_t size) noexcept { return calls++, __libc_memalign(to, size); }
int posix_memalign(void **data, std::size_t to, std::size_t size) noexcept {
    calls++;
    *data = __libc_memalign(to, size);
    return *data ? 0 : ENOMEM;
}
void free(void *data) noexcept { calls++, __libc_free(data); }
}

/* From now on the process may exit and nothing else. False where there is no seccomp (qemu-user has none). */
static bool forbid_system_calls() {
    sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0), /* the call's number */
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    };
    const sock_fprog filter = {sizeof rules / sizeof *rules, rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0;
}

static int play(lstm_edge::Stream &stream, lstm_edge::Stream &copy, std::size_t most, std::vector<float> &x, std::vector<float> &y,
                std::vector<float> &z) {
    const long before = calls;
    for (std::size_t n = 0; n < 4 * most; n++) {
        const std::size_t block = 1 + n * 7 % most; /* every size, each after another one */
        if (stream.process({x.data(), block}, y) != LE_OK)
            return 2;
        if (n == most / 2 && copy.copy_states(stream) != LE_OK)
            return 2;
        if (n > most / 2) { /* the copy goes on from there: the same bits, frame by frame */
            for (std::size_t i = 0; i < block; i++)
                if (copy.process({x.data() + i, 1}, lstm_edge::span<float>(z.data() + i, 1)) != LE_OK)
                    return 2;
            for (std::size_t i = 0; i < block; i++)
                if (y[i] != z[i])
                    return 3;
        }
    }
    std::size_t written = 0;
    stream.reset();
    if (stream.process({x.data(), most + 1}, y, &written) != LE_ERR_VALUE || stream.process({x.data(), 0}, y) != LE_ERR_SHAPE ||
        stream.process({x.data(), 2}, {y.data(), 1}) != LE_ERR_SHAPE || !stream.error().message[0])
        return 4;
    return calls == before ? 0 : 1;
}

int main(int argc, char **argv) {
    const std::size_t most = argc == 3 ? std::strtoul(argv[2], nullptr, 10) : 0;
    le_error err{};
    lstm_edge::Model model = lstm_edge::Model::load(argv[1], err);
    lstm_edge::Stream stream = lstm_edge::Stream::open(model, static_cast<std::int64_t>(most), err);
    if (!stream || lstm_edge::Model::load("/nonexistent", err) || err.status != LE_ERR_FILE)
        return 2;
    lstm_edge::Stream copy = stream.clone(err);
    std::vector<float> x(most + 1), y(most + 1), z(most + 1);
    for (std::size_t i = 0; i < x.size(); i++)
        x[i] = static_cast<float>(i % 17) / 17.0f - 0.5f;
    const bool watched = forbid_system_calls();
    const int code = play(stream, copy, most, x, y, z);
    syscall(SYS_exit_group, code == 0 && !watched ? 5 : code);
}
