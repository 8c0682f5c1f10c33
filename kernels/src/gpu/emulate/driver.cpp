// What candle and ghostzoo call of CUDA's driver, for GPUs that are not there: put before the driver's library (LD_PRELOAD), it
// runs ghostzoo's own kernels by kernels.h, and those of candle's that candle.h has. Others are not found.
//
// The environment says EMULATED_DRIVER_DEVICES (2), _CAPABILITY (80), _MEMORY (megabytes of all devices together), _EAGER (1:
// work runs when it is enqueued), _LOG (a file for what was counted).

#include "kernels.h"
#include "streams.h"

static Driver &driver() {
    static Driver driver;
    return driver;
}

// Programs that the process starts have GPUs of their own, or none.
__attribute__((constructor)) static void alone() { unsetenv("LD_PRELOAD"); }

typedef std::lock_guard<std::recursive_mutex> Lock;

static thread_local int current = -1;

// A stream by its handle: one per thread and device, or one that was made.
static Stream &stream_of(void *handle) {
    if (uintptr_t(handle) > 2) {
        return *static_cast<Stream *>(handle);
    }
    static thread_local std::map<int, Stream *> own;
    Stream *&stream = own[current];
    if (!stream) {
        driver().streams.push_back({});
        stream = &driver().streams.back();
        stream->device = current;
    }
    return *stream;
}

#include "functions.h"

// A compiled text, whose functions are those that it has an entry for.
struct Module {
    std::string text;
};

extern "C" {

int cuInit(uint) { return SUCCESS; }

int cuDeviceGet(int *device, int ordinal) {
    if (ordinal < 0 || ordinal >= setting("EMULATED_DRIVER_DEVICES", 2)) {
        return INVALID_DEVICE;
    }
    *device = ordinal;
    return SUCCESS;
}

int cuDeviceGetAttribute(int *value, int attribute, int) {
    const long capability = setting("EMULATED_DRIVER_CAPABILITY", 80);
    switch (attribute) {
    case 75: *value = int(capability / 10); return SUCCESS;
    case 76: *value = int(capability % 10); return SUCCESS;
    case 115: *value = 1; return SUCCESS;
    default: wrong("attribute " + std::to_string(attribute));
    }
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    *context = reinterpret_cast<void *>(uintptr_t(device) + 1);
    return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }

int cuCtxSetCurrent(void *context) {
    current = int(uintptr_t(context)) - 1;
    return SUCCESS;
}

int cuCtxGetCurrent(void **context) {
    *context = reinterpret_cast<void *>(uintptr_t(current + 1));
    return SUCCESS;
}

int cuGetErrorString(int status, const char **text) {
    *text = status == OUT_OF_MEMORY ? "out of memory" : status == INVALID_DEVICE ? "invalid device ordinal" : "failed";
    return SUCCESS;
}

int cuMemAllocAsync(uintptr_t *address, size_t bytes, void *) {
    Lock lock(driver().mutex);
    return driver().allocate(address, bytes, current);
}

int cuMemAlloc_v2(uintptr_t *address, size_t bytes) { return cuMemAllocAsync(address, bytes, nullptr); }

int cuMemFreeAsync(uintptr_t address, void *stream) {
    Lock lock(driver().mutex);
    return driver().enqueue(stream_of(stream), [address] { driver().release(address); });
}

int cuMemFree_v2(uintptr_t address) {
    Lock lock(driver().mutex);
    for (Stream &stream : driver().streams) driver().run(stream, stream.last);
    driver().release(address);
    return SUCCESS;
}

int cuMemHostAlloc(void **host, size_t bytes, uint) {
    Lock lock(driver().mutex);
    *host = std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    std::memset(*host, 0xff, bytes);
    driver().pinned[uintptr_t(*host)] = {bytes, current};
    return SUCCESS;
}

int cuMemFreeHost(void *host) {
    Lock lock(driver().mutex);
    if (driver().pinned.erase(uintptr_t(host)) == 0) {
        wrong("pinned memory is freed that is not there");
    }
    std::free(host);
    return SUCCESS;
}

// Pageable memory is read at once, pinned memory when the copy's turn comes.
int cuMemcpyHtoDAsync_v2(uintptr_t to, const void *from, size_t bytes, void *handle) {
    Lock lock(driver().mutex);
    Stream &stream = stream_of(handle);
    const int device = stream.device;
    if (driver().is_pinned(from)) {
        driver().counts.pinned_copies++;
        driver().counts.pinned_bytes += bytes;
        return driver().enqueue(stream, [to, from, bytes, device] {
            driver().check(to, bytes, device);
            if (!driver().is_pinned(from)) {
                wrong("pinned memory was freed before it was copied");
            }
            std::memcpy(reinterpret_cast<void *>(to), from, bytes);
        });
    }
    if (stream.captured) {
        stream.is_invalid = true;
        return CAPTURE_UNSUPPORTED;
    }
    driver().counts.pageable_copies++;
    driver().counts.pageable_bytes += bytes;
    const std::string content(static_cast<const char *>(from), bytes);
    return driver().enqueue(stream, [to, content, device] {
        driver().check(to, content.size(), device);
        std::memcpy(reinterpret_cast<void *>(to), content.data(), content.size());
    });
}

int cuMemcpyDtoHAsync_v2(void *to, uintptr_t from, size_t bytes, void *handle) {
    Lock lock(driver().mutex);
    Stream &stream = stream_of(handle);
    driver().counts.back_copies++;
    driver().counts.back_bytes += bytes;
    const int status = driver().wait(stream);
    if (status == SUCCESS) {
        driver().check(from, bytes, stream.device);
        std::memcpy(to, reinterpret_cast<void *>(from), bytes);
    }
    return status;
}

int cuMemcpyDtoDAsync_v2(uintptr_t to, uintptr_t from, size_t bytes, void *handle) {
    Lock lock(driver().mutex);
    Stream &stream = stream_of(handle);
    const int device = stream.device;
    return driver().enqueue(stream, [to, from, bytes, device] {
        driver().check(to, bytes, device);
        driver().check(from, bytes, device);
        std::memmove(reinterpret_cast<void *>(to), reinterpret_cast<void *>(from), bytes);
    });
}

int cuMemsetD8Async(uintptr_t to, unsigned char value, size_t bytes, void *handle) {
    Lock lock(driver().mutex);
    Stream &stream = stream_of(handle);
    const int device = stream.device;
    return driver().enqueue(stream, [to, value, bytes, device] {
        driver().check(to, bytes, device);
        std::memset(reinterpret_cast<void *>(to), value, bytes);
    });
}

int cuStreamSynchronize(void *handle) {
    Lock lock(driver().mutex);
    return driver().wait(stream_of(handle));
}

int cuEventCreate(void **event, uint) {
    *event = new Event;
    return SUCCESS;
}

int cuEventDestroy_v2(void *event) {
    Lock lock(driver().mutex);
    delete static_cast<Event *>(event);
    return SUCCESS;
}

int cuEventRecord(void *event, void *handle) {
    Lock lock(driver().mutex);
    Stream &stream = stream_of(handle);
    if (stream.captured) {
        stream.is_invalid = true;
        return CAPTURE_UNSUPPORTED;
    }
    *static_cast<Event *>(event) = {&stream, stream.last};
    return SUCCESS;
}

int cuEventSynchronize(void *handle) {
    Lock lock(driver().mutex);
    const Event event = *static_cast<Event *>(handle);
    driver().counts.waits++;
    if (event.stream) {
        driver().run(*event.stream, event.position);
    }
    return SUCCESS;
}

int cuEventQuery(void *handle) {
    Lock lock(driver().mutex);
    const Event event = *static_cast<Event *>(handle);
    return !event.stream || event.stream->done >= event.position ? SUCCESS : NOT_READY;
}

int cuEventElapsedTime_v2(float *milliseconds, void *, void *) {
    *milliseconds = 0.001f;
    return SUCCESS;
}

int cuStreamWaitEvent(void *handle, void *waited_for, uint) {
    Lock lock(driver().mutex);
    Stream &stream = stream_of(handle);
    if (stream.captured) {
        stream.is_invalid = true;
        return CAPTURE_ISOLATION;
    }
    const Event event = *static_cast<Event *>(waited_for);
    return driver().enqueue(stream, [event] {
        if (event.stream) {
            driver().run(*event.stream, event.position);
        }
    });
}

int cuModuleLoadData(void **module, const void *text) {
    *module = new Module{static_cast<const char *>(text)};
    return SUCCESS;
}

int cuModuleUnload(void *module) {
    delete static_cast<Module *>(module);
    return SUCCESS;
}

int cuModuleGetFunction(void **function, void *module, const char *name) {
    const auto found = functions().find(name);
    const std::string &text = static_cast<Module *>(module)->text;
    // A stand-in for nvcc leaves candle's own modules empty.
    const bool has_entry = text.find(".entry ") == std::string::npos ||
                           text.find(std::string(".entry ") + name + "(") != std::string::npos;
    if (found == functions().end() || !has_entry) {
        std::fprintf(stderr, "emulated driver: there is no kernel %s\n", name);
        return NOT_FOUND;
    }
    *function = const_cast<Function *>(&found->second);
    return SUCCESS;
}

int cuLaunchKernel(void *function, uint blocks_x, uint blocks_y, uint blocks_z, uint threads, uint threads_y, uint threads_z,
    uint, void *handle, void **arguments, void **) {
    Lock lock(driver().mutex);
    if (blocks_x == 0 || blocks_x > 0x7fffffff || blocks_y == 0 || blocks_y > 65535 || threads == 0 || threads > 1024 ||
        blocks_z != 1 || threads_y != 1 || threads_z != 1) {
        return INVALID_VALUE;
    }
    Stream &stream = stream_of(handle);
    driver().counts.launches++;
    const Function &made = *static_cast<Function *>(function);
    return driver().enqueue(stream, made(arguments, {stream.device, blocks_x, blocks_y, threads, {}}));
}

int cuStreamBeginCapture_v2(void *handle, int) {
    Lock lock(driver().mutex);
    stream_of(handle).captured.reset(new std::vector<Work>);
    return SUCCESS;
}

int cuStreamIsCapturing(void *handle, int *status) {
    Lock lock(driver().mutex);
    *status = stream_of(handle).captured ? 1 : 0;
    return SUCCESS;
}

int cuStreamEndCapture(void *handle, void **graph) {
    Lock lock(driver().mutex);
    Stream &stream = stream_of(handle);
    std::unique_ptr<std::vector<Work>> captured = std::move(stream.captured);
    *graph = nullptr;
    if (!captured || stream.is_invalid) {
        stream.is_invalid = false;
        return CAPTURE_INVALIDATED;
    }
    *graph = captured.release();
    return SUCCESS;
}

int cuGraphInstantiateWithFlags(void **executable, void *graph, unsigned long long) {
    *executable = new std::vector<Work>(*static_cast<std::vector<Work> *>(graph));
    return SUCCESS;
}

int cuGraphLaunch(void *executable, void *handle) {
    Lock lock(driver().mutex);
    driver().counts.graphs++;
    Stream &stream = stream_of(handle);
    for (const Work &work : *static_cast<std::vector<Work> *>(executable)) driver().enqueue(stream, work);
    return SUCCESS;
}

int cuGraphDestroy(void *graph) {
    delete static_cast<std::vector<Work> *>(graph);
    return SUCCESS;
}

int cuGraphExecDestroy(void *executable) {
    Lock lock(driver().mutex);
    // Launches of it may still wait for their turn: each has its own copy.
    delete static_cast<std::vector<Work> *>(executable);
    return SUCCESS;
}

int cublasCreate_v2(void **handle) {
    *handle = new int;
    return 0;
}
int cublasDestroy_v2(void *handle) {
    delete static_cast<int *>(handle);
    return 0;
}
int cublasSetStream_v2(void *, void *) { return 0; }
int curandCreateGenerator(void **generator, int) {
    *generator = new int;
    return 0;
}
int curandDestroyGenerator(void *generator) {
    delete static_cast<int *>(generator);
    return 0;
}
int curandSetStream(void *, void *) { return 0; }
int curandSetPseudoRandomGeneratorSeed(void *, unsigned long long) { return 0; }
}
