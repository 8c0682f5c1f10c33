// Memory, streams, events and graphs of GPUs that are not there.
//
// What is enqueued runs as late as it may: when the host, or a stream that is waited for, needs it. So whoever forgets to wait
// for another stream finds memory that nobody wrote, and whoever fills a buffer again before it is read sends the wrong content.

#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

// Of CUresult.
enum Status : int {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    INVALID_DEVICE = 101,
    NOT_FOUND = 500,
    NOT_READY = 600,
    CAPTURE_UNSUPPORTED = 900,
    CAPTURE_INVALIDATED = 901,
    CAPTURE_ISOLATION = 905,
};

typedef std::function<void()> Work;

// Ends the process: what a GPU would do wrong without a word.
[[noreturn]] static void wrong(const std::string &what) {
    std::fprintf(stderr, "emulated driver: %s\n", what.c_str());
    std::fflush(stderr);
    std::_Exit(3);
}

static long setting(const char *name, long otherwise) {
    const char *value = std::getenv(name);
    return value ? std::atol(value) : otherwise;
}

struct Allocation {
    size_t bytes;
    int device;
};

struct Stream {
    int device;
    // Work that is enqueued, of which `done` pieces ran.
    std::deque<Work> queue;
    uint64_t done = 0, last = 0;
    // What is captured, while that is.
    std::unique_ptr<std::vector<Work>> captured;
    bool is_invalid = false;
};

struct Event {
    Stream *stream = nullptr;
    uint64_t position = 0;
};

struct Counts {
    size_t launches, graphs, pinned_copies, pinned_bytes, pageable_copies, pageable_bytes, back_copies, back_bytes, waits,
        most_memory;
};

struct Driver {
    std::recursive_mutex mutex;
    // GPU memory and pinned memory of the host by address.
    std::map<uintptr_t, Allocation> memory, pinned;
    std::list<Stream> streams;
    Counts counts = {};
    size_t used = 0;

    ~Driver() {
        const char *path = std::getenv("EMULATED_DRIVER_LOG");
        std::FILE *log = path ? std::fopen(path, "w") : nullptr;
        if (!log) {
            return;
        }
        const Counts &c = counts;
        std::fprintf(log,
            "{\"launches\": %zu, \"graphs\": %zu, \"pinned_copies\": %zu, \"pinned_bytes\": %zu, \"pageable_copies\": %zu, "
            "\"pageable_bytes\": %zu, \"back_copies\": %zu, \"back_bytes\": %zu, \"waits\": %zu, \"most_memory\": %zu}\n",
            c.launches, c.graphs, c.pinned_copies, c.pinned_bytes, c.pageable_copies, c.pageable_bytes, c.back_copies,
            c.back_bytes, c.waits, c.most_memory);
        std::fclose(log);
    }

    // Runs what was enqueued on a stream up to a position.
    void run(Stream &stream, uint64_t position) {
        while (stream.done < position) {
            Work work = std::move(stream.queue.front());
            stream.queue.pop_front();
            stream.done++;
            work();
        }
    }

    Status enqueue(Stream &stream, Work work) {
        if (stream.captured) {
            stream.captured->push_back(std::move(work));
            return SUCCESS;
        }
        stream.queue.push_back(std::move(work));
        stream.last++;
        static const bool is_eager = setting("EMULATED_DRIVER_EAGER", 0) != 0;
        if (is_eager) {
            run(stream, stream.last);
        }
        return SUCCESS;
    }

    Status wait(Stream &stream) {
        if (stream.captured) {
            stream.is_invalid = true;
            return CAPTURE_UNSUPPORTED;
        }
        counts.waits++;
        run(stream, stream.last);
        return SUCCESS;
    }

    Status allocate(uintptr_t *address, size_t bytes, int device) {
        static const size_t most = size_t(setting("EMULATED_DRIVER_MEMORY", 1 << 20)) << 20;
        if (bytes == 0) {
            return INVALID_VALUE;
        }
        void *start = used + bytes > most ? nullptr : std::aligned_alloc(256, (bytes + 255) / 256 * 256);
        if (!start) {
            return OUT_OF_MEMORY;
        }
        std::memset(start, 0xff, bytes);
        *address = uintptr_t(start);
        // Whole words: a memory of an odd number of 16-bit elements ends in the middle of one.
        memory[*address] = {(bytes + 3) / 4 * 4, device};
        used += memory[*address].bytes;
        counts.most_memory = used > counts.most_memory ? used : counts.most_memory;
        return SUCCESS;
    }

    void release(uintptr_t address) {
        const auto found = memory.find(address);
        if (found == memory.end()) {
            wrong("memory is freed that is not there");
        }
        used -= found->second.bytes;
        memory.erase(found);
        std::free(reinterpret_cast<void *>(address));
    }

    // The bytes of an allocation from an address on.
    size_t bytes_from(uintptr_t address, int device) {
        auto found = memory.upper_bound(address);
        if (found == memory.begin() || address - std::prev(found)->first >= std::prev(found)->second.bytes) {
            wrong("an address outside of all memory, or of memory that was freed");
        }
        found--;
        if (found->second.device != device) {
            wrong("memory of another device");
        }
        return found->first + found->second.bytes - address;
    }

    void check(uintptr_t address, size_t bytes, int device) {
        if (bytes > bytes_from(address, device)) {
            wrong("a copy beyond its memory");
        }
    }

    bool is_pinned(const void *host) {
        const auto found = pinned.upper_bound(uintptr_t(host));
        return found != pinned.begin() && uintptr_t(host) - std::prev(found)->first < std::prev(found)->second.bytes;
    }
};
